// What runs inside the page, once for each look and once for each click. It reads no text but that of buttons; what the
// page shows is of no interest. `c` is the part of the recipe that it needs, plus:
//   act     "ready": wait until the page is rendered · "look": let it draw, prune, find what loads more · "click": click it
//   expect  whether the list is to grow, after an answer with items
//   wait    how long, in milliseconds
async (c) => {
  // The page we are about to leave must not be taken for the one that comes.
  if (window.__onggi_left || (c.act === 'ready' && window.__onggi_clicked)) return { state: 'leaving' };

  const until = (done, ms) => new Promise((resolve) => {
    if (done()) return resolve(true);
    const finish = (value) => {
      observer.disconnect();
      clearInterval(clock);
      clearTimeout(end);
      resolve(value);
    };
    const check = () => { if (done()) finish(true); };
    const observer = new MutationObserver(check);
    observer.observe(document, { childList: true, subtree: true, attributes: true });
    // Not everything that counts is a mutation: a document that is complete, a style that changed elsewhere.
    const clock = setInterval(check, 50);
    const end = setTimeout(() => finish(false), ms);
  });

  // Until nothing in it has changed for so long.
  const rest = async (quiet, ms, done) => {
    let moved = performance.now();
    const motion = new MutationObserver(() => { moved = performance.now(); });
    motion.observe(document, { childList: true, subtree: true });
    await until(() => done() || (document.readyState === 'complete' && performance.now() - moved > quiet), ms);
    motion.disconnect();
  };
  const free = (node) => node && !node.disabled && node.getAttribute('aria-disabled') !== 'true' && node.getAttribute('aria-busy') !== 'true';
  const seen = (node) => !node.checkVisibility || node.checkVisibility();
  const says = (node) => !c.texts.length || c.texts.includes(node.textContent.replace(/\s+/g, ' ').trim());

  const rendered = () => document.readyState === 'complete' && document.querySelector(c.ready) !== null;
  if (c.act === 'ready') {
    // A page that is loaded and has come to rest will not get better.
    await rest(c.rest, c.wait, rendered);
    if (document.querySelector(c.ready)) {
      // Nobody looks at the items: they need no layout. A page that is scrolled needs its own.
      if (c.prune) {
        const style = document.createElement('style');
        style.textContent = `${c.prune} { display: none !important }`;
        document.head.append(style);
      }
      return { state: 'ready' };
    }
    // No list, so no review: this is what the site says instead.
    const text = document.body ? document.body.innerText : '';
    return { state: 'half', length: text.length, text: text.slice(0, 600) };
  }

  if (c.scrolls) {
    if (c.act === 'look') return { state: 'more', grown: true };
    // Whatever can be scrolled goes up a little and to its end: a page that waits for its end to come into view must see it
    // come, also where it was in view before.
    const turn = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
    const roots = [document.scrollingElement || document.documentElement];
    for (const node of document.querySelectorAll('*')) {
      if (node.scrollHeight > node.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(node).overflowY)) roots.push(node);
    }
    for (const root of roots) root.scrollTop = Math.max(0, root.scrollTop - root.clientHeight - 200);
    await turn(60);
    for (const root of roots) root.scrollTop = root.scrollHeight;
    return { state: 'clicked' };
  }

  if (c.next) {
    // One of the head's can't be seen, and not be clicked.
    const isLink = (node) => node.tagName === 'LINK' && node.href;
    const next = () => Array.from(document.querySelectorAll(c.next)).find((node) => isLink(node) || (free(node) && seen(node) && says(node)));
    if (c.act === 'look') {
      await rest(150, c.wait, () => false);
      if (!next() && c.grace > 0) await until(() => next() !== undefined, c.grace);
      const node = next();
      if (!node) return { state: 'end' };
      return { state: 'more', link: node.href ? String(node.href).slice(0, 4000) : null };
    }
    const node = next();
    if (!node) return { state: 'end' };
    window.__onggi_clicked = true;
    if (isLink(node)) location.assign(node.href);
    else {
      // A page of its own is another tab, which nobody reads.
      if (node.target) node.target = '_self';
      node.click();
    }
    return { state: 'clicked' };
  }

  const list = () => document.querySelector(c.list);
  const button = () => {
    const after = list();
    if (!after) return null;
    const root = after.closest(c.within) || document.body;
    let found = null;
    for (const candidate of root.querySelectorAll(c.button)) {
      if (after.contains(candidate)) continue;
      if (!(after.compareDocumentPosition(candidate) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
      if (!says(candidate) || !seen(candidate)) continue;
      found = candidate;
    }
    return found;
  };

  if (c.act === 'look') {
    const mark = window.__onggi_mark;
    const drawn = () => {
      const now = list();
      return !now || !mark || now.childElementCount !== mark.count || now.lastElementChild !== mark.last || !button();
    };
    const grown = c.expect ? await until(drawn, c.wait) : true;
    const taken = c.prune ? document.querySelectorAll(c.prune) : [];
    for (let at = 0; at < taken.length - c.keep; at += 1) {
      // A picture that waits to be loaded keeps itself alive, and with it the item it hangs in.
      for (const picture of taken[at].querySelectorAll('img, source, video, audio')) {
        picture.removeAttribute('srcset');
        picture.removeAttribute('src');
      }
      taken[at].remove();
    }
    let node = button();
    if (!node && c.grace > 0) {
      await until(() => button() !== null, c.grace);
      node = button();
    }
    if (node && !free(node)) await until(() => free(button()), c.wait);
    return { state: button() ? 'more' : 'end', grown };
  }

  const node = button();
  if (!node) return { state: 'end' };
  const now = list();
  window.__onggi_mark = { count: now.childElementCount, last: now.lastElementChild };
  node.click();
  return { state: 'clicked' };
}
