//! A task as the text of a message: small JSON with a version, read with suspicion, because anybody may send to a queue.

use serde::{Deserialize, Serialize};

use crate::task::Task;

/// Of the text. One that is newer than we are is left to newer workers.
const VERSION: u32 = 1;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageBody {
    /// What is to be done.
    pub(super) task: Task,
    /// Receives that it had before it was handed back as a copy.
    pub(super) receives: u32,
}

#[derive(Serialize)]
struct Written<'t> {
    onggi: u32,
    task: &'t Task,
    receives: u32,
}

#[derive(Deserialize)]
struct Read {
    onggi: u32,
    task: Task,
    #[serde(default)]
    receives: u32,
}

impl MessageBody {
    /// A task that nobody has tried yet.
    pub(super) fn fresh(task: &Task) -> Self {
        Self { task: task.clone(), receives: 0 }
    }

    pub(super) fn text(&self) -> String {
        let written = Written { onggi: VERSION, task: &self.task, receives: self.receives };
        // A task is text, numbers and lists of them: there is nothing in it that JSON can't say.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Why a text is no task, else the task. A name that doesn't follow from its keys is refused: it would land under an id
    /// that no plan has.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let read: Read = serde_json::from_str(text).map_err(|error| format!("expected a task, found {error}"))?;
        if read.onggi != VERSION {
            return Err(format!("expected a message of version {VERSION}, found version {}", read.onggi));
        }
        let named = Task::new(&read.task.source, read.task.dt, read.task.keys.clone());
        if named.id != read.task.id {
            return Err(format!("expected the task `{}` by its keys, found the name `{}`", named.id, read.task.id));
        }
        Ok(Self { task: named, receives: read.receives })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Key;

    fn task() -> Task {
        let keys =
            vec![Key { since: Some("2026-09-30".into()), over: Some(7), ..Key::new("망원동 '국밥'") }, Key::new("b")];
        Task::new(&"naver_reviews".parse().unwrap(), "2026-10-01".parse().unwrap(), keys)
    }

    #[test]
    fn a_task_comes_back_as_it_was() {
        let body = MessageBody { task: task(), receives: 3 };
        assert_eq!(MessageBody::parse(&body.text()).unwrap(), body);
    }

    #[test]
    fn what_is_no_task_of_ours_is_told_apart() {
        let good = MessageBody::fresh(&task()).text();
        for (text, word) in [
            (String::new(), "expected a task"),
            ("hello".into(), "expected a task"),
            ("{\"onggi\":1}".into(), "missing field"),
            (good.replace("\"onggi\":1", "\"onggi\":2"), "version 2"),
            (good.replace(task().id.as_str(), "0123456789abcdef"), "by its keys"),
            (good.replace("naver_reviews", "../etc"), "expected a task"),
        ] {
            let reason = MessageBody::parse(&text).unwrap_err();
            assert!(reason.contains(word), "{text}: {reason}");
        }
    }
}
