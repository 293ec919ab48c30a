-- How fresh is the lake? For each raw table: the newest day and fetch, its records, and those that could not be mapped.
-- tables: raw.naver_places, raw.naver_reviews
-- run: onggi sql - < sql/analyses/freshness.sql          (add --athena to ask Athena)
with fetched as (
    select
        'raw.naver_places' as source_table,
        dt,
        _fetched_at as fetched_at,
        _error as error
    from raw.naver_places
    union all
    select
        'raw.naver_reviews' as source_table,
        dt,
        _fetched_at as fetched_at,
        _error as error
    from raw.naver_reviews
)

select
    source_table,
    max(dt) as newest_day,
    max(fetched_at) as newest_fetch,
    count(distinct dt) as days,
    count(*) as records,
    count(error) as set_aside,
    round(count(error) / cast(count(*) as double), 4) as share_set_aside
from fetched
group by source_table
order by source_table
