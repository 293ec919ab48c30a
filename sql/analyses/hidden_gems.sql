-- Which places deserve more visitors? Well rated by more than a handful of people, recently visited, and still little known in
-- their district.
-- tables: marts.places
-- run: onggi sql - < sql/analyses/hidden_gems.sql          (add --athena to ask Athena)
with ranked as (
    select
        place_id,
        name,
        category,
        area,
        rating,
        reviews,
        recent_reviews,
        case when cardinality(keywords) >= 1 then keywords[1] end as known_for,
        percent_rank() over (partition by nullif(split_part(area, ' ', 2), '') order by reviews) as crowd
    from marts.places
)

select
    name,
    category,
    area,
    rating,
    reviews,
    recent_reviews,
    known_for
from ranked
where rating >= 4
    and reviews >= 5
    and recent_reviews >= 1
    and crowd * 2 <= 1
order by rating desc nulls last, reviews desc nulls last, place_id
limit 20
