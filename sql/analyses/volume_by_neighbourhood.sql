-- Where is it busy? Reviews of the last seven and thirty days by neighbourhood, per place, and how many of them came with a receipt,
-- as known on the newest day.
-- tables: marts.reviews_daily (one row per day and area)
-- run: onggi sql - < sql/analyses/volume_by_neighbourhood.sql          (add --athena to ask Athena)
with newest as (
    select max(dt) as dt
    from marts.reviews_daily
)

select
    d.area,
    d.places,
    d.reviews,
    d.reviews_7d,
    d.reviews_30d,
    round(d.reviews_30d / nullif(cast(d.places as double), 0), 1) as reviews_30d_per_place,
    round(d.receipts_30d / nullif(cast(d.reviews_30d as double), 0), 3) as share_with_receipt,
    d.rating
from marts.reviews_daily as d
join newest as n on n.dt = d.dt
order by d.reviews_30d desc nulls last, d.area
