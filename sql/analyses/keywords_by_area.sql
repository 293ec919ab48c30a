-- What is each district praised for? Its five most frequent keywords, and how many reviews chose them.
-- tables: marts.place_reviews (parallel lists keywords and keyword_reviews, the most frequent first), marts.places
-- run: onggi sql - < sql/analyses/keywords_by_area.sql          (add --athena to ask Athena)
--
-- The lists are taken apart with a table of numbers: `unnest` is written differently in the two dialects.
with places_of_a_list as (
    select
        cast(n as bigint) as n
    from (values (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)) as numbers(n)
),

votes as (
    select
        nullif(split_part(p.area, ' ', 2), '') as district,
        case when cardinality(r.keywords) >= l.n then r.keywords[l.n] end as keyword,
        case when cardinality(r.keywords) >= l.n then r.keyword_reviews[l.n] end as reviews
    from marts.place_reviews as r
    join marts.places as p on p.place_id = r.place_id
    cross join places_of_a_list as l
),

totals as (
    select
        district,
        keyword,
        sum(reviews) as reviews
    from votes
    where keyword is not null
    group by district, keyword
),

ranked as (
    select
        district,
        keyword,
        reviews,
        row_number() over (partition by district order by reviews desc nulls last, keyword) as place_in_district
    from totals
)

select
    district,
    place_in_district,
    keyword,
    reviews
from ranked
where place_in_district <= 5
order by district, place_in_district
