-- What takes the time? For each step of the last ten runs: how often it ran, how often it failed, its usual and its longest time.
-- tables: ops.runs, ops.steps
-- run: onggi sql - < sql/analyses/slow_steps.sql          (add --athena to ask Athena)
with last_runs as (
    select
        run,
        row_number() over (order by started_at desc nulls last) as age
    from ops.runs
)

select
    s.kind,
    s.name,
    count(*) as runs,
    count(*) filter (where s.status = 'failed') as failed,
    count(*) filter (where s.status = 'unchanged') as unchanged,
    round(avg(s.seconds), 2) as mean_seconds,
    round(max(s.seconds), 2) as longest_seconds
from ops.steps as s
join last_runs as l on l.run = s.run
where l.age <= 10
group by s.kind, s.name
order by longest_seconds desc nulls last, s.kind, s.name
