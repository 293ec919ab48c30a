//! The life of a query: started once, looked at until it ends, stopped when nobody waits for it.
//!
//! A query that was started costs money until it ends, whether anybody reads its answer or not. So starting it runs on a
//! task of its own: if the caller goes away before the service has said under which id the query runs, that task stops it.
//! An [`Execution`] that is dropped before its end does the same. Neither survives the end of the process; a command that is
//! interrupted calls [`Execution::stop`] and waits for it.

use std::time::Duration;

use aws_sdk_athena::types::{
    QueryExecution, QueryExecutionContext, QueryExecutionState, QueryExecutionStatistics, ResultConfiguration,
    StatementType,
};
use catalog::aws::SdkConfig;
use tokio::time::Instant;

use crate::client;
use crate::error::{Error, MOST_BYTES, Result};
use crate::page::Rows;
use crate::price;

/// How soon a query is looked at first, and how seldom at last: short queries end within a second, long ones needn't be
/// asked about often.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Where and how questions are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct AthenaSettings {
    /// The workgroup, which may bring its own limits and its own place for results.
    pub workgroup: String,
    /// Where results go, `s3://…`; left out if the workgroup says it.
    pub output: Option<String>,
    /// The data catalog.
    pub catalog: String,
    /// What a terabyte scanned costs.
    pub price_per_tb: f64,
}

impl Default for AthenaSettings {
    fn default() -> Self {
        Self { workgroup: "primary".into(), output: None, catalog: "AwsDataCatalog".into(), price_per_tb: 5.0 }
    }
}

/// Athena in one account and region. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Athena {
    pub(crate) client: aws_sdk_athena::Client,
    pub(crate) settings: AthenaSettings,
}

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// It runs.
    Running,
    /// Its answer is there.
    Succeeded,
    /// It failed.
    Failed,
    /// It was stopped.
    Stopped,
}

impl State {
    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// How far a query is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What becomes of it.
    pub state: State,
    /// Since it was started, as seen from here.
    pub elapsed: Duration,
    /// How long it waited for its turn.
    pub queued: Duration,
    /// How long it ran.
    pub ran: Duration,
    /// How much it read so far.
    pub scanned_bytes: u64,
    /// What that costs.
    pub cost: f64,
}

impl Athena {
    /// Athena in the account and region of `sdk`; `endpoint` is for servers that are not AWS.
    pub fn new(sdk: &SdkConfig, endpoint: Option<&str>, settings: AthenaSettings) -> Result<Self> {
        sdk.region().ok_or(Error::NoRegion)?;
        let mut config = aws_sdk_athena::config::Builder::from(sdk).retry_config(client::retries());
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Self { client: aws_sdk_athena::Client::from_conf(config.build()), settings })
    }

    /// Starts a query. The request carries a token that is the same in every retry, so that a lost reply starts nothing twice.
    ///
    /// # Errors
    /// [`Error::NotAQuery`] for a statement that would change something.
    pub async fn start(&self, statement: &str) -> Result<Execution> {
        let statement = statement.trim().trim_end_matches(';').trim_end();
        asks(statement)?;
        if statement.len() > MOST_BYTES {
            return Err(Error::TooLong { found: statement.len() });
        }
        let output = self.settings.output.as_ref().map(|it| ResultConfiguration::builder().output_location(it).build());
        let request = self
            .client
            .start_query_execution()
            .query_string(statement)
            .work_group(&self.settings.workgroup)
            .query_execution_context(QueryExecutionContext::builder().catalog(&self.settings.catalog).build())
            .set_result_configuration(output);
        let (client, statement) = (self.client.clone(), statement.to_owned());
        let price_per_tb = self.settings.price_per_tb;
        let started = tokio::spawn(async move {
            let what = "starting the query (athena:StartQueryExecution)";
            let answer = request.send().await.map_err(|error| client::failed(what, error))?;
            let id = answer.query_execution_id.unwrap_or_default();
            // Handed over as it is: if nobody takes it, its drop stops the query.
            Ok(Execution { client, id, statement, price_per_tb, started: Instant::now(), ended: false })
        });
        started.await.unwrap_or_else(|error| {
            Err(Error::Unreachable { what: "starting the query".to_owned(), source: error.into() })
        })
    }
}

/// A query that was started. Dropped before its end, it is stopped.
#[derive(Debug)]
pub struct Execution {
    client: aws_sdk_athena::Client,
    id: String,
    statement: String,
    price_per_tb: f64,
    started: Instant,
    ended: bool,
}

impl Execution {
    /// The id under which Athena's console and logs know it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for the end and tells how far the query is whenever it was looked at; then opens the answer.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Stopped`] with Athena's reason.
    pub async fn wait(&mut self, mut tell: impl FnMut(&Progress)) -> Result<Rows> {
        let mut pause = FIRST_LOOK;
        loop {
            let execution = self.look().await?;
            let progress = self.progress(&execution);
            self.ended = !matches!(progress.state, State::Queued | State::Running);
            tell(&progress);
            let reason = || {
                let status = execution.status();
                let said = status.and_then(|it| it.state_change_reason());
                let error = status.and_then(|it| it.athena_error()).and_then(|it| it.error_message());
                said.or(error).unwrap_or_default().trim().to_owned()
            };
            match progress.state {
                State::Queued | State::Running => {}
                State::Succeeded => {
                    // SHOW and DESCRIBE answer without a line of names above the rows.
                    let named = execution.statement_type() != Some(&StatementType::Ddl);
                    return Rows::open(self.client.clone(), self.id.clone(), named).await;
                }
                State::Failed => {
                    let reason = reason();
                    let excerpt = excerpt(&self.statement, &reason);
                    return Err(Error::Failed { id: self.id.clone(), reason, excerpt });
                }
                State::Stopped => return Err(Error::Stopped { id: self.id.clone(), reason: reason() }),
            }
            tokio::time::sleep(pause).await;
            pause = LAST_LOOK.min(pause * 3 / 2);
        }
    }

    /// Stops the query and waits until the service has heard it.
    pub async fn stop(mut self) -> Result<()> {
        self.ended = true;
        stop(&self.client, &self.id).await
    }

    async fn look(&self) -> Result<QueryExecution> {
        let what = "asking how far the query is (athena:GetQueryExecution)";
        let answer = self.client.get_query_execution().query_execution_id(&self.id).send().await;
        let execution = answer.map_err(|error| client::failed(what, error))?.query_execution;
        execution.ok_or_else(|| Error::Unreachable {
            what: what.to_owned(),
            source: format!("the service knows nothing of query {}", self.id).into(),
        })
    }

    fn progress(&self, execution: &QueryExecution) -> Progress {
        let state = match execution.status().and_then(|status| status.state()) {
            Some(QueryExecutionState::Queued) => State::Queued,
            Some(QueryExecutionState::Succeeded) => State::Succeeded,
            Some(QueryExecutionState::Failed) => State::Failed,
            Some(QueryExecutionState::Cancelled) => State::Stopped,
            // A state that is not known here is not an end.
            _ => State::Running,
        };
        let numbers = execution.statistics();
        let millis = |value: Option<i64>| Duration::from_millis(value.and_then(|it| it.try_into().ok()).unwrap_or(0));
        let scanned =
            numbers.and_then(QueryExecutionStatistics::data_scanned_in_bytes).and_then(|it| u64::try_from(it).ok());
        let scanned_bytes = scanned.unwrap_or(0);
        let reused = numbers
            .and_then(|it| it.result_reuse_information())
            .is_some_and(aws_sdk_athena::types::ResultReuseInformation::reused_previous_result);
        // SHOW, DESCRIBE and failed queries cost nothing, nor do answers that were there already.
        let free = reused
            || state == State::Failed
            || matches!(execution.statement_type(), Some(StatementType::Ddl | StatementType::Utility));
        Progress {
            state,
            elapsed: self.started.elapsed(),
            queued: millis(numbers.and_then(QueryExecutionStatistics::query_queue_time_in_millis)),
            ran: millis(numbers.and_then(QueryExecutionStatistics::engine_execution_time_in_millis)),
            scanned_bytes,
            cost: if free { 0.0 } else { price::cost(scanned_bytes, self.price_per_tb) },
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Best effort: outside a runtime, or when it ends at once, the query goes on until its own end.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, id) = (self.client.clone(), std::mem::take(&mut self.id));
        runtime.spawn(async move {
            if let Err(error) = stop(&client, &id).await {
                tracing::warn!(query = id, error = crate::error::chain(&error), "the query could not be stopped");
            }
        });
    }
}

async fn stop(client: &aws_sdk_athena::Client, id: &str) -> Result<()> {
    let sent = client.stop_query_execution().query_execution_id(id).send().await;
    sent.map(drop).map_err(|error| client::failed("stopping the query (athena:StopQueryExecution)", error))
}

/// Makes sure that a statement only asks, by its first word. The rest is Athena's to judge.
fn asks(statement: &str) -> Result<()> {
    let mut rest = statement;
    loop {
        rest = rest.trim_start().trim_start_matches('(');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, below)| below);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, behind)| behind);
        } else if !rest.starts_with(char::is_whitespace) {
            break;
        }
    }
    let first: String = rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    match first.to_lowercase().as_str() {
        "select" | "with" | "values" | "table" | "show" | "describe" | "desc" | "explain" => Ok(()),
        "" => Err(Error::NotAQuery { found: rest.chars().take(10).collect() }),
        _ => Err(Error::NotAQuery { found: first }),
    }
}

/// The line of the statement that a reason such as `SYNTAX_ERROR: line 3:8: …` speaks of, with a mark below the column.
fn excerpt(statement: &str, reason: &str) -> String {
    let place = || {
        let (line, rest) = reason.split_once("line ")?.1.split_once(':')?;
        let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((line.parse::<usize>().ok()?, column.parse::<usize>().ok()?))
    };
    let Some((line, column)) = place() else { return String::new() };
    let Some(text) = statement.lines().nth(line.wrapping_sub(1)) else { return String::new() };
    // As wide as the text above it, so that the mark stands below its column.
    let before: String = text
        .chars()
        .take(column.saturating_sub(1))
        .map(|letter| match letter {
            '\t' => "\t",
            _ if is_wide(letter) => "  ",
            _ => " ",
        })
        .collect();
    format!("\n  {line} | {text}\n  {} | {before}^", " ".repeat(line.to_string().len()))
}

/// Whether a character takes two cells of a terminal, as Korean ones do.
fn is_wide(letter: char) -> bool {
    let wide = ['\u{1100}'..='\u{115f}', '\u{2e80}'..='\u{a4cf}', '\u{ac00}'..='\u{d7a3}', '\u{ff00}'..='\u{ff60}'];
    wide.iter().any(|range| range.contains(&letter))
}

#[cfg(test)]
mod tests;
