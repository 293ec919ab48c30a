-- What keyword search reads: the text of each review that has one.
-- materialize: table
-- key: review_id
-- check: not_null(place_id, body), references(place_id, staging.places)
-- tag: served
select
    review_id,
    place_id,
    body,
    coalesce(visited_on, created_on) as visited_on
from staging.reviews
where char_length(body) > 0
