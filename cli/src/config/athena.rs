//! `[athena]`: how the lake is called in AWS, and where questions to Athena go.

use serde::Deserialize;
use url::Url;

use super::Config;

/// `[athena]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AthenaSection {
    /// What stands before the layer in the name of a Glue database. Without it `marts.places` is the same name in `onggi sql`
    /// and in Athena; with it two projects can share one account.
    pub database_prefix: String,
    /// Where the lake is, as Athena should know it; the lake's own URL if not given.
    pub location: Option<String>,
    /// The workgroup that queries run in.
    pub workgroup: String,
    /// Where results go, `s3://…`; may be left out where the workgroup says it.
    pub output: Option<String>,
    /// The data catalog.
    pub catalog: String,
    /// What a terabyte scanned costs, in dollars: it differs by region.
    pub price_per_tb: f64,
    /// A server that is not AWS, for Athena.
    pub endpoint: Option<Url>,
    /// A server that is not AWS, for Glue.
    pub glue_endpoint: Option<Url>,
}

impl Default for AthenaSection {
    fn default() -> Self {
        let settings = athena::AthenaSettings::default();
        Self {
            database_prefix: String::new(),
            location: None,
            workgroup: settings.workgroup,
            output: None,
            catalog: settings.catalog,
            price_per_tb: settings.price_per_tb,
            endpoint: None,
            glue_endpoint: None,
        }
    }
}

impl Config {
    /// `[athena]` as the file has it; without one, a lake is published under the names that it has.
    pub(crate) fn athena(&self) -> AthenaSection {
        self.athena.clone().unwrap_or_default()
    }
}

impl AthenaSection {
    /// What the types cannot say: the key, what is wrong, and the way out.
    pub(super) fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        let prefix = &self.database_prefix;
        if !prefix.chars().all(plain) || prefix.starts_with(|first: char| !first.is_ascii_lowercase()) {
            problems.push((
                "database_prefix",
                format!("expected lowercase letters, digits and `_`, beginning with a letter, found `{prefix}`"),
                "Glue's databases become this and the layer: `shop_` makes `shop_marts`",
            ));
        }
        for (key, value) in [("output", &self.output), ("location", &self.location)] {
            if let Some(value) = value.as_ref().filter(|value| !value.starts_with("s3://")) {
                let message = format!("expected `s3://bucket/folder/`, found `{value}`");
                problems.push((key, message, "Athena reads and writes S3 only"));
            }
        }
        if !self.price_per_tb.is_finite() || self.price_per_tb < 0.0 {
            problems.push((
                "price_per_tb",
                format!("expected a price of 0 or more, found {}", self.price_per_tb),
                "Athena's price list names it for each region",
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> AthenaSection {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn nothing_is_needed_and_wrong_values_are_named() {
        assert!(section("").problems().is_empty());
        assert!(section("database_prefix = \"shop_\"\noutput = \"s3://jar/results/\"").problems().is_empty());
        for (text, key) in [
            ("database_prefix = \"Shop-\"", "database_prefix"),
            ("database_prefix = \"_x\"", "database_prefix"),
            ("output = \"/tmp\"", "output"),
            ("location = \"s3a://jar/lake\"", "location"),
            ("price_per_tb = -1.0", "price_per_tb"),
        ] {
            let problems = section(text).problems();
            assert_eq!(problems.iter().map(|it| it.0).collect::<Vec<_>>(), [key], "{text}");
        }
        assert!(toml::from_str::<AthenaSection>("datbase = \"x\"").is_err());
    }
}
