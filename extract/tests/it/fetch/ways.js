// Every way in which a page can make the browser ask somebody: each is tried with all of the addresses `us`, through the
// addresses `tos` of the page's own host that redirect there, and the hosts `hs` where a way knows no address.
const add = (name, attributes, root) => { const node = document.createElement(name); for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value); (root || document.body).append(node); return node; };
const each = (way) => (us, tos, hs) => us.forEach((u, at) => { try { way(u, tos[at], hs[at]); } catch (e) {} });
const kept = [];
const worker = (say, shared) => (us, tos) => {
  const lines = us.map((u, at) => `try { ${say(JSON.stringify(u), JSON.stringify(new URL(tos[at], location.href).href))} } catch (e) {}`);
  const url = URL.createObjectURL(new Blob([lines.join('\n')], { type: 'text/javascript' }));
  kept.push(shared ? new SharedWorker(url) : new Worker(url));
};
const frame = (html) => add('iframe', { srcdoc: html });
const link = (rel, more) => each((u) => add('link', { rel, href: u, ...more }, document.head));
const quoted = (u) => JSON.stringify(u);
const socket = (u) => u.replace('http:', 'ws:');
const asks = 'fetch(URL, { mode: "no-cors" }).catch(() => {})';

// Those that are heard where they are let.
const WAYS = {
  fetch: each((u) => fetch(u).catch(() => {})),
  fetch_post: each((u) => fetch(u, { method: 'POST', body: 'x', mode: 'no-cors', credentials: 'include' }).catch(() => {})),
  fetch_keepalive: each((u) => fetch(u, { keepalive: true, mode: 'no-cors' }).catch(() => {})),
  xhr: each((u) => { const x = new XMLHttpRequest(); x.open('GET', u); x.send(); }),
  beacon: each((u) => navigator.sendBeacon(u, 'x')),
  event_source: each((u) => kept.push(new EventSource(u))),
  socket: each((u) => kept.push(new WebSocket(socket(u)))),
  iframe: each((u) => add('iframe', { src: u })),
  iframe_meta: each((u) => frame(`<meta http-equiv=refresh content="0;url=${u}">`)),
  iframe_location: each((u) => frame(`<script>location = ${quoted(u)}<\/script>`)),
  iframe_fetch: each((u) => frame(`<script>${asks.replace('URL', quoted(u))}<\/script>`)),
  iframe_form: each((u) => frame(`<form method=post action="${u}"><input name=a></form><script>document.forms[0].submit()<\/script>`)),
  embed: each((u) => add('embed', { src: u, type: 'text/html' })),
  object: each((u) => add('object', { data: u })),
  script: each((u) => add('script', { src: u })),
  module: each((u) => add('script', { src: u, type: 'module' })),
  import: each((u) => import(u).catch(() => {})),
  stylesheet: link('stylesheet'),
  css_import: each((u) => { add('style', {}).textContent = `@import url("${u}");`; }),
  css_frame: each((u) => frame(`<style>@import "${u}";</style>`)),
  preload: link('preload', { as: 'script' }),
  preload_fetch: link('preload', { as: 'fetch', crossorigin: '' }),
  modulepreload: link('modulepreload'),
  prefetch: link('prefetch'),
  worker_fetch: worker((u) => asks.replace('URL', u)),
  worker_import: worker((u) => `importScripts(${u})`),
  worker_xhr: worker((u) => `const x = new XMLHttpRequest(); x.open('GET', ${u}); x.send()`),
  worker_socket: worker((u) => `new WebSocket(${u}.replace('http:', 'ws:'))`),
  worker_nested: worker((u) => `new Worker(URL.createObjectURL(new Blob(['fetch(' + JSON.stringify(${u}) + ', { mode: "no-cors" })'])))`),
  worker_shared: worker((u) => asks.replace('URL', u), true),
  redirected_fetch: each((u, to) => fetch(to, { mode: 'no-cors' }).catch(() => {})),
  redirected_iframe: each((u, to) => add('iframe', { src: to })),
  redirected_script: each((u, to) => add('script', { src: to })),
  redirected_worker: worker((u, to) => `importScripts(${to})`),
};

// Those of which nothing can be heard here also where they are let: what they would load is never loaded, or is no request.
const SILENT = {
  image: each((u) => add('img', { src: u, loading: 'eager' })),
  picture: each((u) => document.body.insertAdjacentHTML('beforeend', `<picture><source srcset="${u}"><img></picture>`)),
  svg_use: each((u) => document.body.insertAdjacentHTML('beforeend', `<svg><use href="${u}#a"/></svg>`)),
  css_background: each((u) => add('div', { style: `background-image: url("${u}"); width: 9px; height: 9px` })),
  css_font: each((u) => { add('style', {}).textContent = `@font-face { font-family: f; src: url("${u}") } body { font-family: f }`; }),
  icon: link('icon'),
  manifest: link('manifest'),
  video: each((u) => add('video', { src: u, preload: 'auto' })),
  audio: each((u) => add('audio', { src: u, preload: 'auto' })),
  dns_prefetch: link('dns-prefetch'),
  preconnect: link('preconnect'),
  ping: each((u) => add('a', { href: '#x', ping: u }).click()),
  speculation: each((u) => { add('script', { type: 'speculationrules' }).textContent = JSON.stringify({ prefetch: [{ source: 'list', urls: [u] }], prerender: [{ source: 'list', urls: [u] }] }); }),
  popup: each((u) => { window.open(u); add('a', { href: u, target: '_blank' }).click(); }),
  form_popup: each((u) => { const form = add('form', { action: u, method: 'post', target: '_blank' }); form.submit(); }),
  service_worker: each((u) => navigator.serviceWorker.register(u).catch(() => {})),
  transport: each((u) => kept.push(new WebTransport(u.replace('http:', 'https:')))),
  stun: each((u, to, h) => {
    const at = h.replace(/.*@/, '');
    const peer = new RTCPeerConnection({ iceServers: [{ urls: ['stun:' + at] }, { urls: ['turn:' + at, 'turn:' + at + '?transport=tcp'], username: 'a', credential: 'b' }] });
    kept.push(peer);
    peer.createDataChannel('x');
    peer.createOffer().then((offer) => peer.setLocalDescription(offer));
  }),
};

// `from` is the place of the first of the hosts among all that the test has.
const tryAll = (hosts, from) => {
  for (const ways of [WAYS, SILENT]) for (const [name, way] of Object.entries(ways)) {
    try { way(hosts.map((h) => `http://${h}/way/${name}`), hosts.map((h, at) => `/to/${name}/${from + at}`), hosts); } catch (e) {}
  }
};
