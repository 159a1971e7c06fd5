#include "api/api_priv.h"

/* A page that shows /openapi.json, and lets one try what is in it.  It loads nothing else. */
static const char page[] =
    "<!doctype html><html lang=en><meta charset=utf-8><title>Berth: API</title>"
    "<meta name=viewport content='width=device-width'>"
    "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "summary{cursor:pointer;padding:.2em 0}code{font-size:14px}b{display:inline-block;width:5em}"
    "textarea{width:100%;box-sizing:border-box;font:13px monospace}"
    "pre{background:#8882;padding:.6em;overflow:auto;max-height:30em}</style>"
    "<h1>Berth</h1><p>Every path of <a href=/openapi.json>/openapi.json</a>. A key, where the "
    "server wants one: <input id=key type=password></p><div id=list>loading ...</div><script>"
    "const el=(t,p,x)=>{const e=document.createElement(t);if(x!==undefined)e.textContent=x;"
    "p.append(e);return e};"
    "fetch('/openapi.json').then(r=>r.json()).then(d=>{list.textContent='';"
    "for(const[path,ops]of Object.entries(d.paths))for(const[m,op]of Object.entries(ops)){"
    "const box=el('details',list),s=el('summary',box);el('b',s,m.toUpperCase());el('code',s,path);"
    "el('span',s,'  '+(op.summary||''));const url=el('input',box);url.size=60;url.value=path;"
    "let body;if(m!='get'&&m!='delete'){body=el('textarea',box);body.rows=4}"
    "const go=el('button',box,'Send'),out=el('pre',box);out.hidden=true;"
    "go.onclick=async()=>{out.hidden=false;out.textContent='...';"
    "const h={};if(key.value)h.Authorization='Bearer '+key.value;"
    "if(body&&body.value)h['Content-Type']='application/json';"
    "try{const r=await fetch(url.value,{method:m.toUpperCase(),headers:h,"
    "body:body&&body.value||undefined});const t=await r.text();let j=t;"
    "try{j=JSON.stringify(JSON.parse(t),null,1)}catch{}out.textContent=r.status+'\\n'+j}"
    "catch(e){out.textContent=e}}}}).catch(e=>{list.textContent=e})</script></html>\n";

void
berth_admin_swagger(struct berth_call *c)
{
    berth_exchange_add(c->x, "content-security-policy",
                       "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                       "connect-src 'self'");
    berth_call_reply(c, 200, "text/html; charset=utf-8", page, sizeof page - 1);
}
