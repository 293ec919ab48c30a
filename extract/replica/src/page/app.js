// The program of a place's tabs: asks for ten reviews at each click and adds them to the list.
// It never looks an item up by its position, so items may be taken out of the list by others.
(function () {
  'use strict';
  var place = window.__PLACE_STATE__;

  document.querySelectorAll('a.fvwqf[data-open]').forEach(function (opener) {
    opener.addEventListener('click', function (event) {
      event.preventDefault();
      opener.parentNode.querySelectorAll('.away').forEach(function (hidden) { hidden.classList.remove('away'); });
      opener.remove();
    });
  });

  var list = document.getElementById('_review_list');
  if (!list) return;

  var QUERY = 'query getVisitorReviews($input: VisitorReviewsInput) { visitorReviews(input: $input) { total items { id cursor rating body author { id nickname imageUrl } ' +
    'media { type thumbnail } votedKeywords { code name } visitCategories { code name keywords { code name } } visited created visitCount reply { body created } originType } } }';
  var buttons = list.parentNode.querySelectorAll('a.fvwqf');
  var button = buttons[buttons.length - 1];
  var note = document.getElementById('_note');
  var page = place.page;
  var cursor = place.cursor;
  var total = place.total;
  var empties = 0;
  var busy = false;
  var first = null;

  function el(tag, name, text) {
    var node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined && text !== null) node.textContent = String(text);
    return node;
  }

  function picture(name, source, width, height) {
    var image = el('img', name);
    image.alt = '';
    image.width = width;
    image.height = height;
    image.src = source || '';
    return image;
  }

  function row(review) {
    var item = el('li', 'place_apply_pui EjjAW');
    var user = el('div', 'pui__user');
    var author = review.author || {};
    user.append(picture('pui__face', author.imageUrl, 32, 32), el('span', 'pui__NMi-Dp', author.nickname));
    var pictures = el('div', 'pui__pics');
    (review.media || []).forEach(function (medium) { pictures.append(picture('K0PDV', medium.thumbnail, 120, 90)); });
    var visit = el('div', 'pui__visit');
    (review.visitCategories || []).forEach(function (category) {
      (category.keywords || []).forEach(function (keyword) { visit.append(el('a', 'VsvSr', keyword.name)); });
    });
    var body = el('div', 'pui__vn15t2');
    var text = el('a', 'pui__xtsQN-', review.body);
    text.href = '#';
    text.setAttribute('role', 'button');
    body.append(text);
    var chips = el('div', 'pui__jhpEyP');
    (review.votedKeywords || []).forEach(function (keyword) { chips.append(el('span', '', keyword.name || keyword.displayName)); });
    var info = el('div', 'pui__gfuUIT');
    var time = el('time');
    time.append(el('span', 'pui__blind', '방문일'), el('span', '', review.visited));
    info.append(time, el('span', '', review.visitCount + '번째 방문'), el('span', '', '인증 수단 ' + review.originType));
    item.append(user, pictures, visit, body, chips, info);
    if (review.reply) {
      var reply = el('div', 'pui__GbW8H7');
      reply.append(el('span', 'pui__owner', review.reply.replyTitle), el('time', '', review.reply.created), el('div', 'pui__J0tczd', review.reply.body));
      item.append(reply);
    }
    return item;
  }

  // As the site does after each render: look at every body that is in the list, and offer to unfold the long ones.
  function fold() {
    list.querySelectorAll('.pui__vn15t2').forEach(function (body) {
      var text = body.firstChild;
      if (text.scrollHeight > text.clientHeight + 1 && !body.querySelector('[data-pui-click-code]')) {
        var unfold = el('a', 'pui__wFzIYl', '내용 더보기');
        unfold.setAttribute('data-pui-click-code', 'rvshowmore');
        unfold.addEventListener('click', function () { text.style.display = 'block'; unfold.remove(); });
        body.append(unfold);
      }
    });
  }

  function ask(wanted) {
    busy = true;
    var input = { businessId: place.businessId, businessType: place.businessType, item: '0', page: wanted, size: place.size, isPhotoUsed: false, includeContent: true,
      getUserStats: true, includeReceiptPhotos: true, getReactions: true, cidList: ['220036'], bookingBusinessId: null, sort: 'recent' };
    if (cursor && wanted > 1) input.after = cursor;
    return fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify([{ operationName: 'getVisitorReviews', variables: { input: input }, query: QUERY }])
    }).then(function (answer) {
      if (!answer.ok) throw new Error('status ' + answer.status);
      return answer.json();
    }).then(function (answer) {
      var found = answer[0] && answer[0].data && answer[0].data.visitorReviews;
      if (!found) throw new Error('no data');
      return found;
    });
  }

  function done() {
    busy = false;
  }

  function failed() {
    // The page stays where it was: another click asks for the same reviews.
    note.textContent = '잠시 후 다시 시도해 주세요.';
  }

  function more() {
    if (busy) return;
    ask(page + 1).then(function (found) {
      page += 1;
      total = found.total;
      note.textContent = '';
      empties = found.items.length ? 0 : empties + 1;
      if (found.items.length) cursor = found.items[found.items.length - 1].cursor;
      found.items.forEach(function (review) { list.append(row(review)); });
      fold();
      if (page * place.size >= total || empties >= 2) button.parentNode.remove();
    }).catch(failed).then(done);
  }

  fold();
  if (button) {
    button.addEventListener('click', function (event) { event.preventDefault(); more(); });
  }
  if (place.resendFirst) {
    // What a click on the sort order does: the first reviews once more.
    first = ask(1).catch(failed).then(done);
  }
  window.__PLACE_READY__ = first || true;
})();
