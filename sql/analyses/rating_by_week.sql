-- How did ratings move, week by week, over the last half year?
-- tables: staging.reviews, marts.reviews_daily (its newest day is "today")
-- run: onggi sql - < sql/analyses/rating_by_week.sql          (add --athena to ask Athena)
with days as (
    select
        coalesce(visited_on, created_on) as on_day,
        rating
    from staging.reviews
    where rating is not null
)

select
    cast(date_trunc('week', on_day) as date) as week,
    count(*) as reviews,
    round(avg(rating), 3) as rating,
    round(count(*) filter (where rating <= 2) / cast(count(*) as double), 3) as share_of_low_ratings
from days
where on_day > (select max(dt) from marts.reviews_daily) - interval '182' day
group by cast(date_trunc('week', on_day) as date)
order by week
