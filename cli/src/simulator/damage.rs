//! Files of the lake that are damaged, and the copies that they can be restored from.
//!
//! A file is damaged for as long as it holds what the damage left: a program that writes it anew, a table that is made anew
//! or restored, an upkeep that removes it have healed it.

use catalog::simulation::Draw;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use catalog::Timestamp;

use super::tables::READ;

/// What of the lake can be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The rows of a table.
    Data,
    /// The newest entry of a table's log.
    NewestEntry,
    /// Any file of a table's log.
    Log,
    /// What the program keeps for itself.
    House,
}

/// A file that was damaged.
#[derive(Debug, Clone)]
struct Damaged {
    file: PathBuf,
    whole: Vec<u8>,
    left: Vec<u8>,
}

/// What befell the files of a lake.
#[derive(Debug, Default)]
pub(super) struct Damage {
    files: Vec<Damaged>,
    /// What the world's clock showed at a moment of the real one, in their order.
    moments: Vec<(SystemTime, Timestamp)>,
}

impl Damage {
    /// Damages a file of a part of the lake; says which, if there is one.
    pub(super) fn strike(&mut self, lake: &Path, part: Part, draw: &mut Draw) -> Option<PathBuf> {
        let mut files: Vec<PathBuf> = match part {
            Part::House => files(&lake.join("_onggi")),
            _ => READ.iter().flat_map(|table| files(&lake.join(table.replace('.', "/")))).collect(),
        };
        let is_log = |file: &Path| file.parent().is_some_and(|folder| folder.ends_with("_delta_log"));
        files.retain(|file| match part {
            // What befalls sinks is told apart from it.
            Part::House => !file.starts_with(lake.join("_onggi/serving")),
            Part::Data => !is_log(file),
            Part::Log => is_log(file),
            Part::NewestEntry => is_log(file) && file.extension().is_some_and(|ending| ending == "json"),
        });
        files.sort();
        if part == Part::NewestEntry {
            let newest =
                |place: usize| files.get(place + 1).is_none_or(|next: &PathBuf| next.parent() != files[place].parent());
            files = (0..files.len()).filter(|place| newest(*place)).map(|place| files[place].clone()).collect();
        }
        let file = draw.one(&files)?.clone();
        let whole = std::fs::read(&file).unwrap();
        let left = bad(&whole, draw);
        if left == whole {
            return None;
        }
        std::fs::write(&file, &left).unwrap();
        self.files.push(Damaged { file: file.clone(), whole, left });
        Some(file)
    }

    /// The files that are damaged now.
    pub(super) fn now(&self) -> Vec<&Path> {
        let is_damaged = |it: &&Damaged| std::fs::read(&it.file).is_ok_and(|found| found == it.left);
        self.files.iter().filter(is_damaged).map(|it| it.file.as_path()).collect()
    }

    /// Whether a file of a table, or below another folder of the lake, is damaged.
    pub(super) fn is_below(&self, folder: &Path) -> bool {
        self.now().iter().any(|file| file.starts_with(folder))
    }

    /// Puts back what was there before; says whether anything was damaged.
    pub(super) fn restore(&mut self) -> bool {
        let now: Vec<PathBuf> = self.now().into_iter().map(Path::to_owned).collect();
        // Several may have struck one file: the first of them saw it whole.
        for it in self.files.iter().rev().filter(|it| now.contains(&it.file)) {
            std::fs::write(&it.file, &it.whole).unwrap();
            for ending in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{ending}", it.file.display()));
            }
        }
        self.files.clear();
        !now.is_empty()
    }

    /// Remembers what the world's clock shows.
    #[expect(clippy::disallowed_methods, reason = "the disk goes by the real clock, and this says when that was")]
    pub(super) fn moment(&mut self, now: Timestamp) {
        self.moments.push((SystemTime::now(), now));
    }

    /// Gives each file of the lake the age that it has by the world's clock, as if the disk went by it.
    pub(super) fn age(&self, lake: &Path) {
        let Some((begin, _)) = self.moments.first() else { return };
        for file in files(lake) {
            let written = std::fs::metadata(&file).and_then(|meta| meta.modified()).unwrap();
            if written < *begin {
                continue;
            }
            let place = self.moments.partition_point(|(at, _)| *at <= written).saturating_sub(1);
            let at = SystemTime::from(self.moments[place].1);
            std::fs::File::options().append(true).open(&file).and_then(|file| file.set_modified(at)).unwrap();
        }
    }
}

/// What is left of a file that was struck.
pub(super) fn bad(whole: &[u8], draw: &mut Draw) -> Vec<u8> {
    match draw.below(4) {
        0 => Vec::new(),
        1 => whole[..whole.len() / 2].to_vec(),
        2 => vec![0; whole.len()],
        _ => (0..whole.len()).map(|_| draw.number().to_le_bytes()[0]).collect(),
    }
}

/// All files below a folder.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
