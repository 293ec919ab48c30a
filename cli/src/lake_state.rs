//! How the lake stands against the project, in the words that `check`, `plan`, `run` and `status` share.

use catalog::{Date, Lake, TableName};
use transform::{LakeState, spans};

use crate::clock;
use crate::exit::Failure;
use crate::project::Project;
use crate::steps;

/// The way out where a column changed its type in a table whose rows stay as they came.
const ANOTHER_NAME: &str = "give what has another type a new column name (the old column stays)";

/// Compares the lake with the project.
///
/// # Errors
/// If the lake cannot be read.
pub(crate) async fn look(project: &Project, lake: &Lake) -> anyhow::Result<LakeState> {
    let today = clock::today(&project.config.timezone());
    Ok(transform::state(lake, &project.models, &steps::schemas(project), today).await?)
}

/// A line for each thing that is not as the project says.
pub(crate) fn lines(state: &LakeState) -> Vec<String> {
    let mut lines = Vec::new();
    for table in &state.tables {
        let name = &table.table;
        for stale in &table.stale {
            let why = stale.why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            lines.push(format!("{name}: {} stale ({why})", spans(&stale.days)));
        }
        if !table.as_of_then.is_empty() {
            let (days, one) = (spans(&table.as_of_then), table.as_of_then[0]);
            lines.push(format!(
                "{name}: {days} as known on those days; what they read whole has changed since; {}",
                renew(name, one)
            ));
        }
        if table.reshaped {
            lines.push(format!("{name}: to be made anew: {}", table.differences.join(", ")));
        } else if table.refused {
            let differences = table.differences.join(", ");
            lines.push(format!("{name}: {differences}: refused; {ANOTHER_NAME}"));
        } else if !table.differences.is_empty() {
            lines.push(format!("{name}: {}", table.differences.join(", ")));
        }
    }
    lines.extend(state.former.iter().map(|name| {
        let folder = name.to_string().replace('.', "/");
        format!(
            "{name}: a view now; its table of before is still in the lake, as it was, for readers that know no views; if none needs it, remove its folder `{folder}`"
        )
    }));
    lines.extend(state.orphans.iter().map(|name| format!("{name}: nothing of this project makes it any more")));
    lines
}

/// How a day that stays as it was known then is made anew.
pub(crate) fn renew(model: &TableName, dt: Date) -> String {
    format!("`onggi run --dt {dt} --select {model}` builds it with what is known now")
}

/// What no run can change: the project itself is to be changed, or is at odds with the lake.
///
/// # Errors
/// [`Failure`] that names the tables.
pub(crate) fn refused(state: &LakeState) -> Result<(), Failure> {
    let refused: Vec<String> =
        state.tables.iter().filter(|table| table.refused).map(|table| table.table.to_string()).collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("rows can't be added to {} as declared now", refused.join(", ")), ANOTHER_NAME))
}

/// What a run says at its end of days that it did not look at, if there are any.
pub(crate) fn stale_line(state: &LakeState) -> Option<String> {
    let stale: Vec<String> = state
        .tables
        .iter()
        .filter(|table| !table.stale.is_empty())
        .map(|table| {
            let mut days: Vec<_> = table.stale.iter().flat_map(|stale| stale.days.iter().copied()).collect();
            days.sort_unstable();
            format!("{} {}", table.table, spans(&days))
        })
        .collect();
    (!stale.is_empty()).then(|| {
        format!("stale days: {}; `onggi plan` says why, `onggi run --stale` builds them again", stale.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use transform::{Reason, StaleDays, TableState};

    use super::*;

    #[test]
    fn what_differs_has_a_line_of_its_own() {
        let day = |text: &str| -> Date { text.parse().unwrap() };
        assert_eq!(stale_line(&LakeState::default()), None);
        let state = LakeState {
            tables: vec![TableState {
                table: "marts.daily".parse().unwrap(),
                stale: vec![
                    StaleDays {
                        days: vec![day("2026-10-02")],
                        why: vec![Reason::ParentChanged("raw.shop".parse().unwrap())],
                    },
                    StaleDays { days: vec![day("2026-10-01"), day("2026-10-04")], why: vec![Reason::SqlChanged] },
                ],
                as_of_then: vec![day("2026-10-03")],
                differences: vec!["`n` is new".to_owned()],
                reshaped: false,
                refused: false,
            }],
            orphans: vec!["marts.gone".parse().unwrap()],
            former: vec!["marts.seen".parse().unwrap()],
        };
        assert_eq!(
            lines(&state),
            [
                "marts.daily: 2026-10-02 stale (raw.shop changed)",
                "marts.daily: 2026-10-01, 2026-10-04 stale (sql changed)",
                "marts.daily: 2026-10-03 as known on those days; what they read whole has changed since; \
                 `onggi run --dt 2026-10-03 --select marts.daily` builds it with what is known now",
                "marts.daily: `n` is new",
                "marts.seen: a view now; its table of before is still in the lake, as it was, for readers that know no views; \
                 if none needs it, remove its folder `marts/seen`",
                "marts.gone: nothing of this project makes it any more",
            ]
        );
        assert_eq!(
            stale_line(&state).unwrap(),
            "stale days: marts.daily 2026-10-01..2026-10-02, 2026-10-04; `onggi plan` says why, `onggi run --stale` builds them again"
        );
    }
}
