//! The files of a crate and which of them leans on which: by what a name leads to, not by where it is handed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::items::{FileItems, Item, ItemKind, read};
use super::tokens::tokens;

/// How many names a re-export may be handed on by before the search ends.
const LONGEST: usize = 16;

/// One file of a crate, as a module.
pub(super) struct Module {
    /// Its path within the repository.
    pub(super) file: String,
    /// What stands in it.
    pub(super) content: FileItems,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
}

/// A crate, read file by file from its root.
pub(super) struct CrateModules {
    /// Its files; the first is the root.
    pub(super) modules: Vec<Module>,
}

/// Why one leans on another.
pub(super) type Reasons = BTreeMap<(usize, usize), String>;

impl CrateModules {
    /// Reads the crate whose root is this file.
    pub(super) fn read(repository: &Path, root: &str) -> Self {
        let mut all = Self { modules: Vec::new() };
        let path = Path::new(root);
        all.add(repository, path, path.parent().unwrap_or(path), None);
        all
    }

    fn add(&mut self, repository: &Path, file: &Path, below: &Path, parent: Option<usize>) -> usize {
        let text =
            fs::read_to_string(repository.join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let content = read(&tokens(&text));
        let here = self.modules.len();
        let children: Vec<String> = content
            .items
            .iter()
            .filter(|item| item.kind == ItemKind::Module && item.outermost)
            .map(|item| item.name.clone())
            .collect();
        self.modules.push(Module { file: file.display().to_string(), content, parent, children: BTreeMap::new() });
        for name in children {
            let child = below.join(format!("{name}.rs"));
            // A module without a file of its own stands in its parent's.
            if repository.join(&child).is_file() {
                let index = self.add(repository, &child, &below.join(&name), Some(here));
                self.modules[here].children.insert(name, index);
            }
        }
        here
    }

    /// The definitions of all files, each with its file.
    pub(super) fn items(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.modules.iter().flat_map(|module| module.content.items.iter().map(|item| (module.file.as_str(), item)))
    }

    /// Which file leans on which, with one reason each.
    pub(super) fn edges(&self) -> Reasons {
        let mut edges = Reasons::new();
        for (from, module) in self.modules.iter().enumerate() {
            let mut lean = |to: usize, line: usize, what: String| {
                if to != from {
                    edges.entry((from, to)).or_insert_with(|| format!("{}:{line} names {what}", module.file));
                }
            };
            for import in &module.content.imports {
                // A face that only hands a name on does not lean on it.
                if let Some(to) = self.resolve(from, &import.path, 0).filter(|_| !import.handed_on) {
                    lean(to, import.line, import.path.join("::"));
                }
            }
            for mention in &module.content.mentions {
                let first = mention.path[0].as_str();
                if first == "." {
                    if let Some(to) = self.away(module, &mention.path[1]) {
                        lean(to, mention.line, format!("self.{}", mention.path[1]));
                    }
                    continue;
                }
                let is_type = first.starts_with(char::is_uppercase);
                let is_path = mention.path.len() > 1;
                if (is_type || is_path || mention.called)
                    && let Some(to) = self.resolve(from, &mention.path, 0)
                {
                    lean(to, mention.line, mention.path.join("::"));
                }
            }
        }
        edges
    }

    /// The other file in which a method of a type stands that this file also has an `impl` of: no import shows that it is called.
    fn away(&self, here: &Module, method: &str) -> Option<usize> {
        let of: BTreeSet<&str> = here.content.items.iter().filter_map(|it| it.method_of.as_deref()).collect();
        let is_it = |it: &Item| it.name == method && it.method_of.as_deref().is_some_and(|it| of.contains(it));
        if here.content.items.iter().any(is_it) {
            return None;
        }
        self.modules.iter().position(|other| other.content.items.iter().any(is_it))
    }

    /// The file that defines what a path of this module leads to.
    fn resolve(&self, from: usize, path: &[String], handed: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.resolve_in(0, rest, handed),
            "self" => self.resolve_in(from, rest, handed),
            "super" => self.resolve_in(self.modules[from].parent?, rest, handed),
            _ => self.resolve_in(from, path, handed),
        }
    }

    fn resolve_in(&self, module: usize, path: &[String], handed: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        if handed > LONGEST {
            return None;
        }
        let here = &self.modules[module];
        if first == "super" {
            return self.resolve_in(here.parent?, rest, handed);
        }
        if let Some(child) = here.children.get(first).filter(|_| !rest.is_empty()) {
            return self.resolve_in(*child, rest, handed);
        }
        if here.content.items.iter().any(|it| it.outermost && it.name == *first && it.kind != ItemKind::Module) {
            return Some(module);
        }
        for import in here.content.imports.iter().filter(|it| it.alias == *first) {
            let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
            // `use plan::plan` in the file that has the module `plan`: the name leads away from here.
            if let Some(found) = self.resolve(module, &whole, handed + 1) {
                return Some(found);
            }
        }
        let root_macro = |it: &Item| it.kind == ItemKind::Macro && it.name == *first;
        if module == 0 {
            return self.modules.iter().position(|it| it.content.items.iter().any(root_macro));
        }
        None
    }

    /// The circles of modules beside each other, as sentences. A module and what lies in it are one here: a face lists its
    /// members, and they take their words from it.
    pub(super) fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        (0..self.modules.len()).flat_map(|parent| self.circles_below(parent, &edges)).collect()
    }

    fn circles_below(&self, parent: usize, all: &Reasons) -> Vec<String> {
        let mut edges = Reasons::new();
        for ((from, to), why) in all {
            if let (Some(one), Some(other)) = (self.child_over(parent, *from), self.child_over(parent, *to))
                && one != other
            {
                let line = format!("  {why}, of {}", self.modules[*to].file);
                edges.entry((one, other)).and_modify(|it| *it = format!("{it}\n{line}")).or_insert(line);
            }
        }
        let children = self.modules[parent].children.values();
        let reaches: BTreeMap<usize, BTreeSet<usize>> = children.map(|child| (*child, reach(&edges, *child))).collect();
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for (from, reached) in &reaches {
            let circle: BTreeSet<usize> = reached.iter().copied().filter(|to| reaches[to].contains(from)).collect();
            if !circle.is_empty() && told.insert(circle.clone()) {
                let inner = edges.iter().filter(|((one, other), _)| circle.contains(one) && circle.contains(other));
                let lines: Vec<&str> = inner.map(|(_, lines)| lines.as_str()).collect();
                circles.push(format!("a circle of {} modules:\n{}", circle.len(), lines.join("\n")));
            }
        }
        circles
    }

    /// The child of a module in which another one lies, or which it is.
    fn child_over(&self, parent: usize, module: usize) -> Option<usize> {
        let above = self.modules[module].parent?;
        if above == parent { Some(module) } else { self.child_over(parent, above) }
    }
}

/// What can be come to from one module.
fn reach(edges: &Reasons, from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        for (_, to) in edges.keys().filter(|(one, _)| *one == next) {
            if found.insert(*to) {
                open.push(*to);
            }
        }
    }
    found
}
