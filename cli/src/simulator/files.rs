//! The files of the project that a history plays with, and the ways in which somebody edits them.

use std::path::Path;

use serde_json::Value;

use super::served::Served;
use super::service::TOKEN;

/// The day zone of the project.
pub(super) const ZONE: &str = "Asia/Seoul";

/// Days between two fetches of the source of shelves; that of items is daily.
pub(super) const SHELVES_EVERY: i32 = 2;

/// The folder of another project that writes into the same lake, and the keys of its own source.
pub(super) const OTHER: &str = "other";
pub(super) const NOTES: [&str; 2] = ["n1", "n2"];

/// A project, as far as it changes.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that is in the files or not")]
pub(super) struct Files {
    /// The keys of the source that is split by a list.
    pub areas: Vec<String>,
    /// Keys in a task.
    pub per_task: usize,
    /// The column that holds an item's stars, if there is one.
    pub stars: Option<&'static str>,
    /// Whether a price is a `float64`.
    pub price_is_float: bool,
    /// Whether a name is kept as a hash, as that of a person would be.
    pub name_is_hash: bool,
    /// Whether names are written in capitals in `staging.items`.
    pub names_upper: bool,
    /// Whether `marts.daily` doubles its sums.
    pub daily_doubled: bool,
    /// Whether `marts.daily` is a table that is made as a whole, and no partition.
    pub daily_whole: bool,
    /// What is cheap: below this price.
    pub cheap_below: i64,
    /// Whether `marts.totals` has one column more.
    pub totals_wide: bool,
    /// The highest price that the check of `staging.items` lets through.
    pub item_bound: i64,
    /// The highest price that the check of the view lets through.
    pub view_bound: i64,
    /// What is served.
    pub served: Served,
    /// What the model may cost in a day.
    pub budget: Option<f64>,
    /// What the model is told of the texts.
    pub told: u8,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            areas: vec!["north".to_owned(), "south".to_owned()],
            per_task: 2,
            stars: None,
            price_is_float: false,
            name_is_hash: false,
            names_upper: false,
            daily_doubled: false,
            daily_whole: false,
            cheap_below: 500,
            totals_wide: false,
            item_bound: 1_000_000,
            view_bound: 1_000_000,
            served: Served::default(),
            budget: None,
            told: 0,
        }
    }
}

impl Files {
    /// Whether a field has another type than the table into which it has landed.
    pub(super) fn has_other_types(&self) -> bool {
        self.price_is_float || self.name_is_hash
    }

    /// Whether nothing in them is meant to fail.
    pub(super) fn are_fine(&self) -> bool {
        !self.has_other_types() && self.item_bound == 1_000_000 && self.view_bound == 1_000_000
    }

    /// Writes them.
    pub(super) fn write(&self, folder: &Path, site: &str, model: &str) {
        put(folder, "model.key", "test-key".to_owned());
        common(folder, site, &(self.served.text() + &self.summarised(model)));
        let areas: Vec<String> = self.areas.iter().map(|area| format!("\"{area}\"")).collect();
        put(
            folder,
            "sources/shelves.toml",
            self.source(
                "shelves",
                &format!("{SHELVES_EVERY}d"),
                &format!("list = [{}]", areas.join(", ")),
                "title = { path = \"/name\", type = \"string\" }",
            ),
        );
        let price = if self.price_is_float { "float64" } else { "int64" };
        let name = if self.name_is_hash { "hash" } else { "string" };
        let stars = self
            .stars
            .map_or_else(String::new, |column| format!("\n{column} = {{ path = \"/stars\", type = \"int64\" }}"));
        put(
            folder,
            "sources/items.toml",
            self.source(
                "items",
                "1d",
                "query = \"select shelf as key from staging.shelves\"",
                &format!(
                    "name = {{ path = \"/name\", type = \"{name}\" }}\nprice = {{ path = \"/price\", type = \"{price}\" }}{stars}"
                ),
            ),
        );
        for (name, text) in self.models() {
            put(folder, &format!("sql/{name}.sql"), text);
        }
    }

    /// Writes those of the other project: a source of its own, one area of the shelves, and what it makes of its own.
    pub(super) fn write_other(&self, folder: &Path, site: &str) {
        common(folder, site, "");
        let fields = "title = { path = \"/name\", type = \"string\" }";
        let (every, areas) = (format!("{SHELVES_EVERY}d"), self.areas.iter().take(1));
        let areas: Vec<String> = areas.map(|area| format!("\"{area}\"")).collect();
        let shelves = self.source("shelves", &every, &format!("list = [{}]", areas.join(", ")), fields);
        put(folder, "sources/shelves.toml", shelves);
        put(folder, "sources/notes.toml", self.source("notes", "1d", &format!("list = {NOTES:?}"), fields));
        let notes = "-- materialize: partition\n-- key: dt, note\n\
                     select $dt as dt, _key as note, count(*) as items from raw.notes where dt = $dt and _error is null\n\
                     group by _key\n";
        put(folder, "sql/marts/notes.sql", notes.to_owned());
    }

    fn source(&self, name: &str, every: &str, keys: &str, fields: &str) -> String {
        format!(
            "name = \"{name}\"\nfetch = \"http\"\nevery = \"{every}\"\nmax_receives = 2\n[keys]\n{keys}\nper_task = {}\n\
             [http]\nurl = \"http://shop.example/list/{name}?key={{key}}&page={{page}}\"\npage_size = {}\nmax_pages = 20\n\
             [items]\npath = \"/items\"\ntotal = \"/total\"\nkey = \"id\"\n\
             [fields]\nid = {{ path = \"/id\", type = \"id\", required = true }}\n{fields}\n",
            self.per_task,
            super::site::PAGE
        )
    }

    /// What the model is told, in words.
    pub(super) fn told_as(&self) -> String {
        format!("goods of shelf plan {}", self.told)
    }

    /// What the model is to write beside a summary: nothing, a word or a number.
    fn fields(&self) -> &'static str {
        match self.told {
            0 => "",
            1 => "fields.tone = { type = \"text\", values = [\"mild\", \"strong\"], required = true }\n",
            _ => "fields.tone = { type = \"integer\", min = 1, max = 5, required = true }\n",
        }
    }

    /// Whether this is what a row of the summaries says in the field, as it is asked for now.
    pub(super) fn is_tone(&self, tone: Option<&Value>) -> bool {
        match (self.told, tone) {
            (0, tone) => tone.is_none(),
            (1, Some(Value::String(tone))) => ["mild", "strong"].contains(&tone.as_str()),
            (1, _) => false,
            (_, tone) => tone.and_then(Value::as_i64).is_some_and(|tone| (1..=5).contains(&tone)),
        }
    }

    /// The sections of the model and of what it summarises.
    fn summarised(&self, model: &str) -> String {
        let budget = self.budget.map_or_else(String::new, |budget| format!("budget = {budget:?}\n"));
        let price = TOKEN * 1e6;
        format!(
            "[llm]\nprovider = \"openai\"\nurl = \"{model}\"\nkey = \"file:model.key\"\nsummary_model = \"writes\"\n\
             embedding_model = \"places\"\ndimensions = 8\noutput_tokens = 200\n{budget}\
             [llm.prices.\"writes\"]\ninput = {price:?}\noutput = {price:?}\n[llm.prices.\"places\"]\ninput = {price:?}\n\
             [enrich.\"marts.said\"]\nfrom = \"marts.words\"\nkey = \"shelf\"\ntexts = \"texts\"\nsubject = \"{}\"\n{}",
            self.told_as(),
            self.fields()
        )
    }

    fn models(&self) -> [(&'static str, String); 10] {
        let name = if self.names_upper { "upper(name)" } else { "name" };
        let twice = if self.daily_doubled { " * 2" } else { "" };
        let (daily, of_day, by) = if self.daily_whole {
            ("table", "dt, _key as shelf", "where _error is null group by dt, _key")
        } else {
            ("partition", "$dt as dt, _key as shelf", "where dt = $dt and _error is null group by _key")
        };
        let wide = if self.totals_wide { ", max(price) as dearest" } else { "" };
        [
            (
                "staging/shelves",
                "-- materialize: latest by shelf order by fetched_at\n\
                 select id as shelf, title, _key as area, _fetched_at as fetched_at, dt from raw.shelves\n\
                 where dt = $dt and _error is null\n"
                    .to_owned(),
            ),
            (
                "staging/items",
                format!(
                    "-- materialize: latest by item order by fetched_at\n-- check: between(price, 0, {})\n\
                     select id as item, _key as shelf, {name} as name, price, _fetched_at as fetched_at, dt from raw.items\n\
                     where dt = $dt and _error is null\n",
                    self.item_bound
                ),
            ),
            (
                "staging/cheap",
                format!(
                    "-- materialize: view\n-- check: between(price, 0, {})\n\
                     select item, shelf, price from staging.items where price < {}\n",
                    self.view_bound, self.cheap_below
                ),
            ),
            (
                "marts/daily",
                format!(
                    "-- materialize: {daily}\n-- key: dt, shelf\n\
                     select {of_day}, count(*) as items, sum(price){twice} as total from raw.items\n{by}\n"
                ),
            ),
            (
                "marts/totals",
                format!(
                    "-- materialize: table\n-- key: shelf\n-- check: not_null(shelf), references(shelf, staging.shelves)\n\
                     select shelf, count(*) as items, sum(price) as total{wide} from staging.items group by shelf\n"
                ),
            ),
            (
                "marts/asof",
                "-- materialize: table\nselect $dt as day, count(*) as items from staging.items\n".to_owned(),
            ),
            (
                "marts/cheap",
                "-- materialize: table\n-- key: shelf\n\
                 select shelf, count(*) as items from staging.cheap group by shelf\n"
                    .to_owned(),
            ),
            ("marts/top", "-- materialize: table\nselect max(items) as most from marts.cheap\n".to_owned()),
            ("marts/goods", self.served.goods_sql()),
            (
                "marts/words",
                "-- materialize: table\n-- key: shelf\n\
                 select shelf, array_agg(item || ' is ' || name || ' at ' || coalesce(price, 0) order by item) as texts\n\
                 from staging.items where shelf is not null group by shelf\n"
                    .to_owned(),
            ),
        ]
    }
}

fn put(folder: &Path, name: &str, text: String) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What both projects have.
fn common(folder: &Path, site: &str, sections: &str) {
    put(folder, "identity.key", "a key that only this test knows".to_owned());
    put(
        folder,
        "onggi.toml",
        format!(
            "[project]\nname = \"shop\"\ntimezone = \"{ZONE}\"\nsources = \"sources\"\nmodels = \"sql\"\n\
             [identity]\nkey = \"file:identity.key\"\n[queue]\nvisibility_seconds = 600\n\
             [hosts.\"shop.example\"]\nurl = \"{site}\"\nrate = 1000000\n{sections}"
        ),
    );
}
