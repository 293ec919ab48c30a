//! `onggi doctor`: what is reachable, what is missing, and how to get it.

mod aws;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use catalog::without_user;

use crate::args::Global;
use crate::config::{Provider, SecretRef, ServerSection};
use crate::count::counted;
use crate::exit::{Exit, render};
use crate::out;
use crate::project::Project;
use crate::table;
use crate::wire::{self, IdentityState};

/// How long a host may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was looked at, and what became of it.
struct Finding {
    what: &'static str,
    /// Whether a run works without it.
    fine: bool,
    text: String,
    hint: Option<String>,
}

impl Finding {
    fn fine(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, fine: true, text: text.into(), hint: None }
    }

    fn missing(what: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what, fine: false, text: text.into(), hint: Some(hint.into()) }
    }
}

/// Looks at everything a run needs, and changes nothing that a run would not.
///
/// # Errors
/// Never for what is missing: that is an answer, with exit code 1.
pub(crate) async fn doctor(global: &Global) -> anyhow::Result<Exit> {
    let mut findings = Vec::new();
    match Project::open(global) {
        Err(error) => findings.push(Finding::missing("project", first_line(&error), hint(&error))),
        Ok(project) => {
            if project.sources.iter().any(|source| source.fetch_kind().needs_browser()) {
                findings.push(browser(project.config.crawl.chromium.as_deref()).await);
            }
            let text = format!(
                "`{}`: {}, {}",
                project.config.project.name,
                counted(project.sources.len() as u64, "source"),
                counted(project.models.len() as u64, "model")
            );
            findings.push(Finding::fine("project", text));
            findings.extend(project.sources.iter().filter_map(|source| {
                let (name, reference) = source.secrets().missing()?;
                let text = format!("`{}` expects `{name}` at {reference}, found nothing", source.name());
                Some(Finding::missing("secret", text, "put it there".to_owned()))
            }));
            findings.extend(models(&project));
            let lake = wire::lake_to_come(&project, global).await;
            findings.push(identity(&project, lake.as_ref().ok()).await);
            match &lake {
                Err(error) => findings.push(Finding::missing("lake", first_line(error), hint(error))),
                Ok(lake) => {
                    let tables = lake.tables().await.map_or(0, |tables| tables.len());
                    // A bucket that is not proved can't be opened.
                    let server = lake.server();
                    let at = server.map_or_else(String::new, |it| format!(" at {it}, conditional writes proved"));
                    findings.push(Finding::fine(
                        "lake",
                        match lake.uri().scheme() {
                            wire::TO_COME => {
                                format!("made by the first run, at {}", wire::lake_address(&project, global))
                            }
                            _ => format!("{}{at}, {tables} tables", lake.uri()),
                        },
                    ));
                    if lake.uri().scheme() != wire::TO_COME || project.config.queue.uri.is_some() {
                        findings.push(queue(&project, lake).await);
                    }
                }
            }
            for section in project.config.servers() {
                findings.push(server(&project, section).await);
            }
            findings.extend(Box::pin(aws::findings(&project, lake.as_ref().ok())).await);
            for (host, section) in &project.config.hosts {
                findings.push(reachable(host, &section.url).await);
            }
        }
    }
    for finding in &mut findings {
        finding.text = without_user(&finding.text);
        finding.hint = finding.hint.as_deref().map(without_user);
    }
    let well = findings.iter().all(|finding| finding.fine);
    if global.json {
        for it in &findings {
            out::object(&serde_json::json!({ "what": it.what, "fine": it.fine, "text": it.text, "hint": it.hint }))?;
        }
    } else {
        let rows: Vec<Vec<String>> = findings
            .iter()
            .map(|it| vec![format!("{} {}", if it.fine { "✓" } else { "✗" }, it.what), it.text.clone()])
            .collect();
        out::text(&table::align(&rows));
        let hints: BTreeSet<&String> = findings.iter().filter_map(|finding| finding.hint.as_ref()).collect();
        for hint in hints {
            out::line(format_args!("hint: {hint}"));
        }
    }
    Ok(if well { Exit::Done } else { Exit::Failed })
}

fn first_line(error: &anyhow::Error) -> String {
    let text = render(error);
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn hint(error: &anyhow::Error) -> String {
    crate::exit::hint(error).unwrap_or_else(|| "`onggi check` shows more".to_owned())
}

/// Who summarises and embeds, where that is not this program. Nothing is asked: an answer would cost.
fn models(project: &Project) -> Option<Finding> {
    let section = &project.config.llm;
    if section.provider == Provider::Local {
        return None;
    }
    Some(match wire::llm(project) {
        Ok(llm) => {
            let text = format!("{} and {} at {}", llm.summariser().name, llm.embedder().name, section.url);
            Finding::fine("models", text)
        }
        Err(error) => Finding::missing("models", first_line(&error), hint(&error)),
    })
}

async fn browser(setting: Option<&std::path::Path>) -> Finding {
    match extract::fetch::find_chromium(setting).await {
        Ok(path) => {
            let version = Command::new(&path).arg("--version").stderr(Stdio::null()).output();
            let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            Finding::fine("browser", format!("{} ({})", version.unwrap_or_default(), path.display()))
        }
        Err(error) => Finding::missing("browser", error.to_string(), error.hint().unwrap_or_default()),
    }
}

async fn queue(project: &Project, lake: &catalog::Lake) -> Finding {
    match (wire::queue(project, lake).await, &project.config.queue.uri) {
        (Ok(_), Some(uri)) => Finding::fine("queue", format!("{uri} answers")),
        (Ok(_), None) => Finding::fine("queue", "embedded, for the workers of this machine"),
        (Err(error), _) => Finding::missing("queue", first_line(&error), hint(&error)),
    }
}

async fn identity(project: &Project, lake: Option<&catalog::Lake>) -> Finding {
    const WHAT: &str = "identity key";
    let reference = &project.config.identity.key;
    let Some(lake) = lake else {
        return match reference.read(&project.folder) {
            Ok(_) => Finding::fine(WHAT, "there; whether it is the lake's is not known"),
            Err(error) => Finding::missing(WHAT, first_line(&error), hint(&error)),
        };
    };
    match wire::identity_fits(project, lake).await {
        Ok(IdentityState::There) => Finding::fine(WHAT, "there"),
        Ok(IdentityState::ToBeMade) => match reference {
            SecretRef::File(path) => Finding::fine(WHAT, format!("`{}` is made by the first run", path.display())),
            SecretRef::Env(_) => Finding::fine(WHAT, "made by the first run"),
        },
        Ok(IdentityState::Elsewhere) => match reference.read(&project.folder) {
            Ok(_) => Finding::fine(WHAT, "there"),
            Err(error) => Finding::missing(WHAT, first_line(&error), hint(&error)),
        },
        Err(error) => Finding::missing(WHAT, first_line(&error), hint(&error)),
    }
}

/// The server of a sink: its version, what it can do, and our rights.
async fn server(project: &Project, section: &dyn ServerSection) -> Finding {
    let what = section.kind().name();
    let asked = async { Ok::<_, anyhow::Error>(wire::server(project, section)?.doctor().await?) };
    match asked.await {
        Ok(text) => Finding::fine(what, text),
        Err(error) => Finding::missing(what, causes(&error), hint(&error)),
    }
}

/// An error with its reasons, on one line.
fn causes(error: &anyhow::Error) -> String {
    crate::exit::causes(error).join(": ")
}

async fn reachable(host: &str, url: &url::Url) -> Finding {
    let (name, port) = (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default().unwrap_or(443));
    let connected = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect((name.as_str(), port))).await;
    match connected {
        Ok(Ok(_)) => Finding::fine("host", format!("{host} answers at {url}")),
        Ok(Err(error)) => {
            let text = format!("{host} does not answer at {url}: {error}");
            Finding::missing("host", text, "start the server, or correct `[hosts]` in onggi.toml")
        }
        Err(_) => {
            let text = format!("{host} does not answer at {url} within {}s", PATIENCE.as_secs());
            Finding::missing("host", text, "start the server, or correct `[hosts]` in onggi.toml")
        }
    }
}
