{{- define "msvc.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "msvc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "msvc.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "msvc.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "msvc.selector" -}}
app.kubernetes.io/name: {{ include "msvc.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "msvc.labels" -}}
{{ include "msvc.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "msvc.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "msvc.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* Roles of one release in several namespaces must not share a name. */ -}}
{{- define "msvc.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "msvc.fullname" .) | trunc 56 | trimSuffix "-" -}}
{{- end -}}

{{- define "msvc.eppRole" -}}
{{- if .Values.epp.createClusterRole -}}
{{- include "msvc.clusterName" . }}-epp
{{- else -}}
{{- required "epp.createClusterRole=false needs epp.clusterRole, the one to give to endpoint pickers" .Values.epp.clusterRole -}}
{{- end -}}
{{- end -}}

{{- /* A binding of the role of the same name and kind to the operator: (list CONTEXT NAME NAMESPACE), "" for all. */ -}}
{{- define "msvc.binding" -}}
{{- $ := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne (index . 2) "") }}
metadata:
  name: {{ index . 1 }}
  {{- with index . 2 }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "msvc.labels" $ | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (ne (index . 2) "") }}
  name: {{ index . 1 }}
subjects:
- kind: ServiceAccount
  name: {{ include "msvc.account" $ }}
  namespace: {{ $.Release.Namespace }}
{{- end -}}
