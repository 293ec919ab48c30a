//! The sinks on servers, from their sections.

use std::sync::Arc;

use load::sink::Sink;

use crate::config::ServerSection;
use crate::exit::Failure;
use crate::project::Project;

/// The sink of a section. Nothing is connected yet.
///
/// # Errors
/// If its URL cannot be read, or is none. No part of the URL is in the message.
pub(crate) fn server(project: &Project, section: &dyn ServerSection) -> anyhow::Result<Arc<dyn Sink>> {
    let url = String::from_utf8(section.url().read(&project.folder)?).map_err(|_| {
        // The error would show the bytes.
        let message = format!("expected the URL of `[{}]` in UTF-8, found other bytes", section.kind());
        Failure::usage(message, "write it anew")
    })?;
    section.sink(url, &project.config.project.name)
}
