//! What the project serves: a mart that is made for it, and the `[sync]` sections, as far as somebody edits them.

use load::SinkKind;

/// The tables that may be served.
pub(super) const SERVED: [&str; 2] = [GOODS, TOTALS];
/// Large enough that a sync may not remove any share of it.
pub(super) const GOODS: &str = "marts.goods";
/// Small, and its columns come and go.
pub(super) const TOTALS: &str = "marts.totals";

/// Rows of a good, as long as nothing is wrong with the mart.
pub(super) const COPIES: i64 = 4;

/// The sinks that are played: those that need no server. What `vectors` holds is reckoned by the mart, and by no embedder.
pub(super) const KINDS: [SinkKind; 3] = SinkKind::EMBEDDED;

/// The sections, and the SQL of the mart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that is in the files or not")]
pub(super) struct Served {
    /// Whether the goods are served.
    pub goods: bool,
    /// Whether the totals are.
    pub totals: bool,
    /// Whether the goods are searched by words.
    pub keywords: bool,
    /// Whether they have vectors.
    pub vectors: bool,
    /// Whether a number is the key of a good, and not its name.
    pub by_number: bool,
    /// Whether its name is searched beside its words.
    pub names: bool,
    /// Whether its name heads it.
    pub titled: bool,
    /// The share of rows that a sync may remove, in per cent.
    pub may_lose: u64,
    /// How many rows there are of each item: none, and the mart is empty.
    pub copies: i64,
}

impl Default for Served {
    fn default() -> Self {
        Self {
            goods: true,
            totals: false,
            keywords: true,
            vectors: true,
            by_number: false,
            names: false,
            titled: false,
            may_lose: 20,
            copies: COPIES,
        }
    }
}

/// A section: a table, its key, and the sinks that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// The mart.
    pub table: &'static str,
    /// The column.
    pub key: &'static str,
    /// In their order.
    pub kinds: Vec<SinkKind>,
}

impl Served {
    /// The sections that there are.
    pub(super) fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        if self.goods {
            let key = self.key();
            let kinds = KINDS.into_iter().filter(|kind| match kind {
                SinkKind::Keywords => self.keywords,
                SinkKind::Vectors => self.vectors,
                _ => true,
            });
            sections.push(Section { table: GOODS, key, kinds: kinds.collect() });
        }
        if self.totals {
            sections.push(Section { table: TOTALS, key: "shelf", kinds: vec![SinkKind::Sqlite] });
        }
        sections
    }

    /// The column that is the key of the goods.
    fn key(&self) -> &'static str {
        if self.by_number { "number" } else { "good" }
    }

    /// Whether a sink is to follow a table.
    pub(super) fn asks_for(&self, kind: SinkKind, table: &str) -> bool {
        self.sections().iter().any(|section| section.table == table && section.kinds.contains(&kind))
    }

    /// Whether a keyword index that was made for `other` is one for this, too.
    pub(super) fn is_indexed_as(&self, other: &Self) -> bool {
        (self.by_number, self.names, self.titled) == (other.by_number, other.names, other.titled)
    }

    /// The sections as `onggi.toml` has them.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Section { table, key, kinds } in self.sections() {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
            text += &format!("[sync.\"{table}\"]\nkey = \"{key}\"\nsinks = [{}]\n", kinds.join(", "));
            text += &format!("max_deleted = {:?}\n", self.may_lose as f64 / 100.0);
            if table == GOODS {
                text += if self.names { "text = [\"words\", \"name\"]\n" } else { "text = [\"words\"]\n" };
                text += if self.vectors { "vector = \"place\"\n" } else { "" };
                text += if self.titled { "title = \"name\"\n" } else { "" };
            }
        }
        text
    }

    /// The SQL of the goods.
    pub(super) fn goods_sql(&self) -> String {
        format!(
            "-- materialize: table\n-- key: {}\n\
             select item || '-' || n as good, row_number() over (order by item, n) as number, name,\n\
             'good ' || item || ' at ' || coalesce(price, 0) || ' on ' || shelf as words, price,\n\
             make_array(cast(coalesce(price, 0) as real), cast(n as real)) as place\n\
             from staging.items cross join (values (1), (2), (3), (4)) as copies(n) where n <= {}\n",
            self.key(),
            self.copies
        )
    }
}
