//! What depends on what: nodes that read and write tables, and the order that follows from it.
//!
//! A node may be anything with inputs and outputs (a source, a model, an enrichment, a sync), so one graph orders a whole run. The
//! order depends on the nodes alone and not on the order in which they were given: the same project always runs the same way.

mod select;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use catalog::TableName;

pub use select::{Selector, SelectorError};

/// One thing that reads tables and writes tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What selectors and messages call it; no two nodes share one.
    pub name: String,
    /// The tables it needs.
    pub reads: BTreeSet<TableName>,
    /// The tables it makes.
    pub writes: BTreeSet<TableName>,
    /// For `tag:`.
    pub tags: BTreeSet<String>,
    /// For `path:`.
    pub path: Option<String>,
}

/// Why the nodes have no order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphError {
    /// Each needs the next one's table, and the last the first one's.
    Cycle(Vec<String>),
    /// Two nodes write one table.
    TwoWriters(TableName, [String; 2]),
    /// Two nodes have one name.
    TwoNames(String),
}

impl GraphError {
    /// The nodes it is about; those of a cycle in order, the first once.
    pub fn nodes(&self) -> Vec<String> {
        match self {
            Self::Cycle(path) => path.clone(),
            Self::TwoWriters(_, nodes) => nodes.to_vec(),
            Self::TwoNames(name) => vec![name.clone()],
        }
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle(path) => {
                let first = path.first().map_or("", String::as_str);
                write!(f, "a cycle: {} → {first}", path.join(" → "))
            }
            Self::TwoWriters(table, [one, two]) => write!(f, "`{one}` and `{two}` both write `{table}`"),
            Self::TwoNames(name) => write!(f, "two nodes are called `{name}`"),
        }
    }
}

impl std::error::Error for GraphError {}

/// Nodes in an order in which each comes after what it reads.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: Vec<Node>,
    above: Vec<BTreeSet<usize>>,
    below: Vec<BTreeSet<usize>>,
}

impl Graph {
    /// Orders the nodes.
    pub fn new(mut nodes: Vec<Node>) -> Result<Self, GraphError> {
        nodes.sort_by(|one, two| one.name.cmp(&two.name));
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(GraphError::TwoNames(pair[0].name.clone()));
        }
        let mut writers: BTreeMap<&TableName, usize> = BTreeMap::new();
        for (place, node) in nodes.iter().enumerate() {
            for table in &node.writes {
                if let Some(other) = writers.insert(table, place) {
                    return Err(GraphError::TwoWriters(table.clone(), [nodes[other].name.clone(), node.name.clone()]));
                }
            }
        }
        let above: Vec<BTreeSet<usize>> = nodes
            .iter()
            .map(|node| node.reads.iter().filter_map(|table| writers.get(table).copied()).collect())
            .collect();
        let order = sorted(&above)
            .map_err(|cycle| GraphError::Cycle(cycle.into_iter().map(|place| nodes[place].name.clone()).collect()))?;

        let mut place_of = vec![0; nodes.len()];
        for (new, old) in order.iter().enumerate() {
            place_of[*old] = new;
        }
        let mut slots: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
        let nodes: Vec<Node> = order.iter().filter_map(|old| slots[*old].take()).collect();
        let above: Vec<BTreeSet<usize>> =
            order.iter().map(|old| above[*old].iter().map(|other| place_of[*other]).collect()).collect();
        let mut below = vec![BTreeSet::new(); nodes.len()];
        for (place, parents) in above.iter().enumerate() {
            for parent in parents {
                below[*parent].insert(place);
            }
        }
        Ok(Self { nodes, above, below })
    }

    /// The nodes, each after those it reads from.
    pub fn order(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The node of a name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The nodes that this one reads from directly.
    pub fn parents(&self, name: &str) -> impl Iterator<Item = &Node> {
        let place = self.nodes.iter().position(|node| node.name == name);
        place.into_iter().flat_map(|place| self.above[place].iter().map(|parent| &self.nodes[*parent]))
    }

    /// Everything that reads from this one, directly or through others.
    pub fn downstream(&self, name: &str) -> impl Iterator<Item = &Node> {
        let found = self
            .nodes
            .iter()
            .position(|node| node.name == name)
            .map(|place| closure(&self.below, place, usize::MAX))
            .unwrap_or_default();
        found.into_iter().map(|place| &self.nodes[place]).filter(move |node| node.name != name)
    }

    /// The names of the nodes that a selection means, in order. An empty selection means all.
    pub fn select(&self, selection: &[Selector]) -> Result<Vec<String>, SelectorError> {
        let mut chosen = BTreeSet::new();
        for selector in selection {
            chosen.extend(selector.choose(self)?);
        }
        Ok(self
            .nodes
            .iter()
            .enumerate()
            .filter(|(place, _)| selection.is_empty() || chosen.contains(place))
            .map(|(_, node)| node.name.clone())
            .collect())
    }
}

/// Everything that can be reached from one place, itself included.
fn closure(edges: &[BTreeSet<usize>], from: usize, steps: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([from]);
    let mut waiting = VecDeque::from([(from, steps)]);
    while let Some((place, steps)) = waiting.pop_front() {
        if steps > 0 {
            waiting.extend(edges[place].iter().filter(|next| found.insert(**next)).map(|next| (*next, steps - 1)));
        }
    }
    found
}

/// Places in an order in which each comes after those above it, the lowest place first where there is a choice; or a cycle, in the
/// order in which each needs the next.
fn sorted(above: &[BTreeSet<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order = Vec::with_capacity(above.len());
    let mut waiting: BTreeSet<usize> = (0..above.len()).collect();
    let mut done = vec![false; above.len()];
    while let Some(next) = waiting.iter().copied().find(|place| above[*place].iter().all(|parent| done[*parent])) {
        waiting.remove(&next);
        done[next] = true;
        order.push(next);
    }
    let Some(start) = waiting.first().copied() else { return Ok(order) };
    // Every waiting place has a waiting parent: walking up must come back to where it has been.
    let mut path = vec![start];
    loop {
        let here = path[path.len() - 1];
        let Some(parent) = above[here].iter().copied().find(|parent| !done[*parent]) else { return Ok(order) };
        if let Some(seen) = path.iter().position(|place| *place == parent) {
            let mut cycle = path.split_off(seen);
            let least = cycle.iter().enumerate().min_by_key(|(_, place)| **place).map_or(0, |(at, _)| at);
            cycle.rotate_left(least);
            return Err(cycle);
        }
        path.push(parent);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(name: &str, reads: &[&str]) -> Node {
        Node {
            name: name.to_owned(),
            reads: reads.iter().map(|table| table.parse().unwrap()).collect(),
            writes: [name.parse().unwrap()].into(),
            tags: BTreeSet::new(),
            path: None,
        }
    }

    #[test]
    fn each_comes_after_what_it_reads() {
        let graph = Graph::new(vec![
            node("marts.c", &["staging.b", "staging.a"]),
            node("staging.b", &["staging.a"]),
            node("staging.a", &["raw.x"]),
            node("marts.z", &[]),
        ])
        .unwrap();
        let order: Vec<_> = graph.order().map(|node| node.name.as_str()).collect();
        assert_eq!(order, ["marts.z", "staging.a", "staging.b", "marts.c"]);
        let below: Vec<_> = graph.downstream("staging.a").map(|node| node.name.as_str()).collect();
        assert_eq!(below, ["staging.b", "marts.c"]);
    }

    #[test]
    fn a_cycle_is_shown_as_a_path() {
        let wrong = Graph::new(vec![
            node("staging.a", &["staging.c"]),
            node("staging.b", &["staging.a"]),
            node("staging.c", &["staging.b"]),
            node("marts.d", &["staging.c"]),
        ])
        .unwrap_err();
        assert_eq!(wrong.to_string(), "a cycle: staging.a → staging.c → staging.b → staging.a");
        assert_eq!(
            Graph::new(vec![node("staging.a", &["staging.a"])]).unwrap_err().to_string(),
            "a cycle: staging.a → staging.a"
        );
    }

    #[test]
    fn one_table_has_one_writer() {
        let mut other = node("staging.b", &[]);
        other.writes = node("staging.a", &[]).writes;
        assert_eq!(
            Graph::new(vec![node("staging.a", &[]), other]).unwrap_err().to_string(),
            "`staging.a` and `staging.b` both write `staging.a`"
        );
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_graph_and_not_of_the_list(edges in proptest::collection::vec((0_usize..12, 0_usize..12), 0..30), seed in 0_usize..12) {
            let names: Vec<String> = (0..12).map(|place| format!("staging.t{place}")).collect();
            // An edge always leads from a lower to a higher place, so there is no cycle.
            let mut nodes: Vec<Node> = (0..12)
                .map(|place| {
                    let reads: Vec<&str> = edges.iter().filter(|(one, two)| one.max(two) == &place && one != two).map(|(one, two)| names[*one.min(two)].as_str()).collect();
                    node(&names[place], &reads)
                })
                .collect();
            let graph = Graph::new(nodes.clone()).unwrap();
            let order: Vec<String> = graph.order().map(|node| node.name.clone()).collect();
            for (place, node) in graph.order().enumerate() {
                for table in &node.reads {
                    prop_assert!(order.iter().position(|name| *name == table.to_string()).unwrap() < place);
                }
            }
            nodes.rotate_left(seed);
            prop_assert_eq!(Graph::new(nodes).unwrap().order().map(|node| node.name.clone()).collect::<Vec<_>>(), order);
        }
    }
}
