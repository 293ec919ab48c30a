-- One row per day and area: how many reviews were known by that day and how many of them are recent. A review counts on the day
-- of the visit, or on the day it was written where the visit is not known.
-- materialize: partition
-- key: dt, area
-- check: between(reviews, 1, 1000000000), between(rating, 0, 5)
with known as (
    select
        coalesce(p.area, '') as area,
        r.place_id,
        r.rating,
        r.origin_type,
        coalesce(r.visited_on, r.created_on) as on_day
    from staging.reviews as r
    left join staging.places as p on p.place_id = r.place_id
    where coalesce(r.visited_on, r.created_on) <= $dt
)

select
    $dt as dt,
    area,
    count(distinct place_id) as places,
    count(*) as reviews,
    count(*) filter (where on_day = $dt) as reviews_today,
    count(*) filter (where on_day > $dt - interval '7 days') as reviews_7d,
    count(*) filter (where on_day > $dt - interval '30 days') as reviews_30d,
    count(*) filter (where on_day > $dt - interval '30 days' and origin_type = '영수증') as receipts_30d,
    round(avg(rating), 3) as rating
from known
group by area
