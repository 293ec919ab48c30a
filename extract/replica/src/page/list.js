// The program of the list: asks for more rows when its end comes into sight.
(function () {
  'use strict';
  var state = window.__PLACE_STATE__;
  var container = document.getElementById('_pcmap_list_scroll_container');
  var list = container.querySelector('ul');
  var loaded = state.loaded;
  var ended = loaded >= state.total;
  var busy = false;

  function row(item) {
    var li = document.createElement('li');
    li.className = 'UEzoS rTjJo';
    var link = document.createElement('a');
    link.className = 'tzwk0';
    link.href = '/restaurant/' + encodeURIComponent(item.id) + '/home';
    var name = document.createElement('span');
    name.className = 'place_bluelink TYaxT';
    name.textContent = item.name;
    var category = document.createElement('span');
    category.className = 'KCMnt';
    category.textContent = item.category;
    link.append(name, category);
    li.append(link);
    return li;
  }

  container.addEventListener('scroll', function () {
    if (busy || ended || container.scrollTop + container.clientHeight < container.scrollHeight - 400) return;
    busy = true;
    fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify([{ operationName: 'getRestaurants', query: 'query getRestaurants($restaurantListInput: RestaurantListInput) { restaurants(input: $restaurantListInput) { total items { id name category } } }',
        variables: { restaurantListInput: { query: state.query, start: loaded + 1, display: state.display, deviceType: 'pcmap', isPcmap: true } } }])
    }).then(function (answer) { return answer.json(); }).then(function (answer) {
      var found = answer[0].data.restaurants;
      found.items.forEach(function (item) { list.append(row(item)); });
      loaded += found.items.length;
      ended = !found.items.length || loaded >= found.total;
    }).catch(function () {}).then(function () { busy = false; });
  });
})();
