-- One row per place that has reviews: how many and how recent, the share of each keyword and situation (parallel lists, the most
-- frequent first), first and last visit, and the texts that its summary is made from.
--
-- summary_texts are at most 40 different texts of at least ten characters, chosen so that no voice drowns another: texts are put
-- into strata by their rating (low, middling, high, none) and the year of their visit, and the strata take turns. The newest year of
-- a place takes a turn every time, the year before it every second time, and so on; of the same turn a low rating comes first.
-- Within a stratum the longer text ranks higher, up to 400 characters, then the later one. So a text moves only those of its own
-- stratum, and the choice does not change with the day on which it is made.
-- materialize: table
-- key: place_id
-- check: between(reviews, 1, 1000000000), between(rating, 0, 5)
-- tag: summary
with reviews as (
    select
        review_id,
        place_id,
        rating,
        body,
        keywords,
        situations,
        coalesce(visited_on, created_on) as on_day
    from staging.reviews
),

counts as (
    select
        place_id,
        count(*) as reviews,
        count(*) filter (where on_day > $dt - interval '30 days' and on_day <= $dt) as reviews_30d,
        count(*) filter (where on_day > $dt - interval '90 days' and on_day <= $dt) as reviews_90d,
        count(*) filter (where char_length(body) > 0) as texts,
        round(avg(rating), 3) as rating,
        min(on_day) as first_visit,
        max(on_day) as last_visit
    from reviews
    group by place_id
),

keyword_votes as (
    select place_id, keyword, count(distinct review_id) as votes
    from (select review_id, place_id, unnest(keywords) as keyword from reviews)
    where char_length(keyword) > 0
    group by place_id, keyword
),

keyword_lists as (
    select
        v.place_id,
        array_agg(v.keyword order by v.votes desc, v.keyword) as keywords,
        array_agg(v.votes order by v.votes desc, v.keyword) as keyword_reviews,
        array_agg(round(v.votes / cast(c.reviews as double), 4) order by v.votes desc, v.keyword) as keyword_shares
    from keyword_votes as v
    join counts as c on c.place_id = v.place_id
    group by v.place_id
),

situation_votes as (
    select place_id, situation, count(distinct review_id) as votes
    from (select review_id, place_id, unnest(situations) as situation from reviews)
    where char_length(situation) > 0
    group by place_id, situation
),

situation_lists as (
    select
        v.place_id,
        array_agg(v.situation order by v.votes desc, v.situation) as situations,
        array_agg(v.votes order by v.votes desc, v.situation) as situation_reviews,
        array_agg(round(v.votes / cast(c.reviews as double), 4) order by v.votes desc, v.situation) as situation_shares
    from situation_votes as v
    join counts as c on c.place_id = v.place_id
    group by v.place_id
),

texts as (
    select
        place_id,
        body,
        max(least(char_length(body), 400)) as length,
        max(coalesce(cast(on_day as int), 0)) as on_day,
        max(coalesce(cast(date_part('year', on_day) as int), 0)) as on_year,
        min(rating) as rating
    from reviews
    where char_length(body) >= 10
    group by place_id, body
),

strata as (
    select
        place_id,
        body,
        length,
        on_day,
        max(on_year) over (partition by place_id) - on_year as years_ago,
        case when rating is null then 3 when rating < 3 then 0 when rating < 4.5 then 1 else 2 end as stratum
    from texts
),

turns as (
    select
        place_id,
        body,
        years_ago,
        stratum,
        row_number() over (
            partition by place_id, years_ago, stratum order by length desc, on_day desc, body
        ) * (1 + years_ago) as turn
    from strata
),

ranked_texts as (
    select
        place_id,
        body,
        row_number() over (partition by place_id order by turn, years_ago, stratum, body) as place_of_text
    from turns
),

text_lists as (
    select place_id, array_agg(body order by place_of_text) as summary_texts
    from ranked_texts
    where place_of_text <= 40
    group by place_id
)

select
    c.place_id,
    c.reviews,
    c.reviews_30d,
    c.reviews_90d,
    c.texts,
    c.rating,
    c.first_visit,
    c.last_visit,
    k.keywords,
    k.keyword_reviews,
    k.keyword_shares,
    s.situations,
    s.situation_reviews,
    s.situation_shares,
    t.summary_texts
from counts as c
left join keyword_lists as k on k.place_id = c.place_id
left join situation_lists as s on s.place_id = c.place_id
left join text_lists as t on t.place_id = c.place_id
