-- Which places got worse? The rating of the last 90 days against that of all the time before, where both rest on enough reviews.
-- tables: staging.reviews, marts.places, marts.reviews_daily (its newest day is "today")
-- run: onggi sql - < sql/analyses/falling_ratings.sql          (add --athena to ask Athena)
with today as (
    select max(dt) as dt
    from marts.reviews_daily
),

ratings as (
    select
        r.place_id,
        count(*) filter (where coalesce(r.visited_on, r.created_on) > t.dt - interval '90' day) as recent_reviews,
        count(*) filter (where coalesce(r.visited_on, r.created_on) <= t.dt - interval '90' day) as earlier_reviews,
        avg(r.rating) filter (where coalesce(r.visited_on, r.created_on) > t.dt - interval '90' day) as recent_mean,
        avg(r.rating) filter (where coalesce(r.visited_on, r.created_on) <= t.dt - interval '90' day) as earlier_mean
    from staging.reviews as r
    cross join today as t
    where r.rating is not null
    group by r.place_id
)

select
    p.place_id,
    p.name,
    p.area,
    g.earlier_reviews,
    g.recent_reviews,
    round(g.earlier_mean, 2) as earlier_rating,
    round(g.recent_mean, 2) as recent_rating,
    round(g.recent_mean - g.earlier_mean, 2) as difference
from ratings as g
join marts.places as p on p.place_id = g.place_id
where g.recent_reviews >= 3
    and g.earlier_reviews >= 5
    and g.recent_mean < g.earlier_mean
order by difference, p.place_id
limit 20
