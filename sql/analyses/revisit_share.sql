-- Where do people come back? The share of reviews that are somebody's second visit or a later one, by district.
-- tables: staging.reviews, staging.places
-- run: onggi sql - < sql/analyses/revisit_share.sql          (add --athena to ask Athena)
select
    nullif(split_part(p.area, ' ', 2), '') as district,
    count(*) as reviews,
    count(*) filter (where r.visit_count >= 2) as revisits,
    round(count(*) filter (where r.visit_count >= 2) / cast(count(*) as double), 3) as revisit_share,
    max(r.visit_count) as most_visits_of_one_person
from staging.reviews as r
join staging.places as p on p.place_id = r.place_id
where r.visit_count is not null
group by nullif(split_part(p.area, ' ', 2), '')
order by revisit_share desc nulls last, district
