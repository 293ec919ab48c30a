//! A first look at both services: is there what asking and publishing need?
//!
//! Only requests that read and cost nothing. They give up soon, so that a wrong address is told within seconds.

use std::time::Duration;

use aws_sdk_athena::types::{WorkGroup, WorkGroupConfiguration, WorkGroupState};
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::config::timeout::TimeoutConfig;
use catalog::Layer;

use crate::client::{self, Glue};
use crate::error::{Error, Result};
use crate::publish::{PublishOptions, database};
use crate::query::Athena;

/// A look that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a workgroup puts answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into this folder, `s3://…`.
    Folder(String),
    /// Into storage of Athena's own.
    Managed,
}

/// The databases that a lake is published into, by their names in Glue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases {
    /// Those that are there.
    pub there: Vec<String>,
    /// Those that are not; the first table of its layer that is published makes one.
    pub missing: Vec<String>,
}

impl Athena {
    /// Makes sure that queries can be started: the workgroup is there and enabled, and it is known where answers go.
    ///
    /// # Errors
    /// [`Error::NoWorkgroup`], [`Error::DisabledWorkgroup`] or [`Error::NoOutput`] for what is missing.
    pub async fn observe(&self) -> Result<Output> {
        let config = self.client.config().to_builder().retry_config(retries()).timeout_config(patience()).build();
        let client = aws_sdk_athena::Client::from_conf(config);
        let name = &self.settings.workgroup;
        let what = || format!("asking for the workgroup `{name}` (athena:GetWorkGroup)");
        let answer = client.get_work_group().work_group(name).send().await;
        let found = answer.map_err(|error| client::failed(what(), error))?.work_group;
        output(name, found.as_ref(), self.settings.output.as_deref())
    }
}

impl Glue {
    /// Which databases are there, of those that the tables of a lake are published into.
    pub async fn observe(&self, options: &PublishOptions) -> Result<Databases> {
        let config = self.client.config().to_builder().retry_config(retries()).timeout_config(patience()).build();
        let client = aws_sdk_glue::Client::from_conf(config);
        let mut databases = Databases::default();
        for layer in Layer::ALL {
            let name = database(options, layer);
            match client.get_database().name(&name).send().await {
                Ok(_) => databases.there.push(name),
                Err(error) if client::code(&error) == Some("EntityNotFoundException") => databases.missing.push(name),
                Err(error) => {
                    return Err(client::failed(format!("asking for the database `{name}` (glue:GetDatabase)"), error));
                }
            }
        }
        Ok(databases)
    }
}

/// Where the answers of a workgroup go, if queries can be started in it.
fn output(name: &str, found: Option<&WorkGroup>, configured: Option<&str>) -> Result<Output> {
    let name = name.to_owned();
    let Some(found) = found else { return Err(Error::NoWorkgroup { name }) };
    if found.state() == Some(&WorkGroupState::Disabled) {
        return Err(Error::DisabledWorkgroup { name });
    }
    let settings = found.configuration();
    if settings.and_then(|it| it.managed_query_results_configuration()).is_some_and(|it| it.enabled) {
        return Ok(Output::Managed);
    }
    let own = settings.and_then(|it| it.result_configuration()).and_then(|it| it.output_location());
    let own = own.filter(|folder| !folder.is_empty());
    // A workgroup may insist on its own settings; then those of the query count for nothing, even where it has none.
    let insists = settings.and_then(WorkGroupConfiguration::enforce_work_group_configuration).unwrap_or(false);
    match if insists { own } else { configured.or(own) } {
        Some(folder) => Ok(Output::Folder(folder.to_owned())),
        None => Err(Error::NoOutput { name, insists }),
    }
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(250))
}

fn patience() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(PATIENCE / 3).operation_timeout(PATIENCE).build()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::query::AthenaSettings;
    use crate::testing::Double;

    fn options() -> PublishOptions {
        PublishOptions { project: "reviews".into(), database_prefix: "demo_".into(), ..PublishOptions::default() }
    }

    async fn observe(answer: Value, output: Option<&str>) -> Result<Output> {
        let double = Double::start().await;
        double.says("GetWorkGroup", answer);
        let settings = AthenaSettings { output: output.map(str::to_owned), ..AthenaSettings::default() };
        let looked = Athena::new(&double.sdk(), None, settings).unwrap().observe().await;
        assert_eq!(double.asked("GetWorkGroup"), [json!({ "WorkGroup": "primary" })]);
        looked
    }

    fn group(state: &str, configuration: &Value) -> Value {
        json!({ "WorkGroup": { "Name": "primary", "State": state, "Configuration": configuration } })
    }

    #[tokio::test]
    async fn answers_go_where_the_workgroup_lets_them() {
        let own = json!({ "ResultConfiguration": { "OutputLocation": "s3://group/" } });
        let strict = json!({ "ResultConfiguration": { "OutputLocation": "s3://group/" },
            "EnforceWorkGroupConfiguration": true });
        let managed = json!({ "ManagedQueryResultsConfiguration": { "Enabled": true } });
        let bare = json!({ "ResultConfiguration": {}, "EnforceWorkGroupConfiguration": false });
        for (configuration, configured, expected) in [
            (&own, None, "s3://group/"),
            (&own, Some("s3://mine/"), "s3://mine/"),
            (&strict, Some("s3://mine/"), "s3://group/"),
            (&bare, Some("s3://mine/"), "s3://mine/"),
        ] {
            let found = observe(group("ENABLED", configuration), configured).await.unwrap();
            assert_eq!(found, Output::Folder(expected.to_owned()), "{configuration}");
        }
        assert_eq!(observe(group("ENABLED", &managed), None).await.unwrap(), Output::Managed);
    }

    #[tokio::test]
    async fn a_workgroup_that_takes_no_queries_is_told_with_the_way_out() {
        let bare = json!({ "ResultConfiguration": {} });
        let strict = json!({ "EnforceWorkGroupConfiguration": true });
        for (answer, output, message, hint) in [
            (json!({ "WorkGroup": null }), None, "there is no workgroup `primary`", "set `workgroup`"),
            (group("DISABLED", &bare), Some("s3://mine/"), "the workgroup `primary` is disabled", "enable it"),
            (group("ENABLED", &bare), None, "nothing says where the answers", "set `output = "),
            (group("ENABLED", &strict), Some("s3://mine/"), "nothing says where the answers", "give the workgroup"),
        ] {
            let error = observe(answer, output).await.unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
            assert!(error.hint().unwrap().starts_with(hint), "{error}: {:?}", error.hint());
        }
    }

    #[tokio::test]
    async fn databases_are_looked_at_and_none_is_made() {
        let double = Double::start().await;
        let glue = Glue::new(&double.sdk(), None).unwrap();
        double.says("GetDatabase", json!({ "Database": { "Name": "demo_raw" } }));
        double.fails("GetDatabase", "EntityNotFoundException", "Database not found.");
        let looked = glue.observe(&options()).await.unwrap();
        assert_eq!(looked.there, ["demo_raw"]);
        assert_eq!(looked.missing, ["demo_staging", "demo_marts", "demo_ops"]);
        assert!(double.operations().iter().all(|operation| operation == "GetDatabase"), "{:?}", double.operations());
    }

    #[tokio::test]
    async fn a_missing_right_is_named_after_one_request() {
        let double = Double::start().await;
        let message = "User: x is not authorized to perform: glue:GetDatabase";
        double.fails("GetDatabase", "AccessDeniedException", message);
        let error = Glue::new(&double.sdk(), None).unwrap().observe(&options()).await.unwrap_err();
        assert!(error.to_string().contains("`demo_raw` (glue:GetDatabase): AccessDenied"), "{error}");
        assert!(error.hint().unwrap().contains("right"), "{:?}", error.hint());
        double.fails(
            "GetWorkGroup",
            "AccessDeniedException",
            "User: x is not authorized to perform: athena:GetWorkGroup",
        );
        let error = Athena::new(&double.sdk(), None, AthenaSettings::default()).unwrap().observe().await.unwrap_err();
        assert!(error.to_string().contains("(athena:GetWorkGroup): AccessDenied"), "{error}");
        assert!(error.hint().unwrap().contains("right"), "{:?}", error.hint());
        assert_eq!(double.operations().len(), 2, "a refusal was tried again");
    }
}
