-- What are places visited for? For each situation: the places that have it, the reviews that name it, and the place where its
-- share is highest.
-- tables: marts.place_reviews (parallel lists situations, situation_reviews and situation_shares), marts.places
-- run: onggi sql - < sql/analyses/situation_shares.sql          (add --athena to ask Athena)
with places_of_a_list as (
    select
        cast(n as bigint) as n
    from (values (1), (2), (3), (4), (5), (6), (7), (8)) as numbers(n)
),

shares as (
    select
        r.place_id,
        r.reviews,
        case when cardinality(r.situations) >= l.n then r.situations[l.n] end as situation,
        case when cardinality(r.situations) >= l.n then r.situation_reviews[l.n] end as votes,
        case when cardinality(r.situations) >= l.n then r.situation_shares[l.n] end as share
    from marts.place_reviews as r
    cross join places_of_a_list as l
),

ranked as (
    select
        situation,
        place_id,
        votes,
        share,
        row_number() over (partition by situation order by share desc nulls last, place_id) as place_in_situation
    from shares
    where situation is not null
        and reviews >= 10
)

select
    s.situation,
    count(*) as places,
    sum(s.votes) as reviews,
    round(avg(s.share), 3) as mean_share,
    max(case when s.place_in_situation = 1 then p.name end) as strongest_place,
    round(max(s.share), 3) as strongest_share
from ranked as s
join marts.places as p on p.place_id = s.place_id
group by s.situation
order by reviews desc nulls last, s.situation
