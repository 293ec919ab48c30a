//! How far a run is, on standard error: bars on a terminal, plain lines in a log, nothing with `--quiet`.
//!
//! Never silent for more than two seconds: a bar ticks by itself, and the plain form prints a line for the step under way
//! at that pace. Nothing here decides anything.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::count::thousands;
use crate::out;

/// The longest silence of the plain form.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Shows the steps of a run as they happen. Those under way at once are told apart by their verbs.
pub(crate) struct Progress {
    form: Form,
    bars: MultiProgress,
    steps: Mutex<BTreeMap<&'static str, ShownStep>>,
}

enum Form {
    Bars,
    Lines,
    Quiet,
    /// Kept, for a test that reads what people would have read.
    #[cfg(all(test, feature = "failpoints"))]
    Kept(Mutex<Vec<String>>),
}

struct ShownStep {
    bar: ProgressBar,
    name: String,
    started: Instant,
    last_line: Instant,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Amount {
    /// Units done.
    pub done: u64,
    /// Units there are, once that is known.
    pub total: Option<u64>,
    /// Records seen so far, where the step sees any.
    pub records: u64,
}

impl Progress {
    /// Bars where standard error is a terminal, else lines; nothing at all if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let form = match quiet {
            true => Form::Quiet,
            false if std::io::stderr().is_terminal() => Form::Bars,
            false => Form::Lines,
        };
        Self::with(form)
    }

    /// Nothing on the screen; what would have been shown is [`told`](Self::told).
    #[cfg(test)]
    #[cfg(feature = "failpoints")]
    pub(crate) fn kept() -> Self {
        Self::with(Form::Kept(Mutex::default()))
    }

    fn with(form: Form) -> Self {
        Self { form, bars: MultiProgress::new(), steps: Mutex::default() }
    }

    /// What was told so far.
    #[cfg(test)]
    #[cfg(feature = "failpoints")]
    pub(crate) fn told(&self) -> Vec<String> {
        let Form::Kept(lines) = &self.form else { return Vec::new() };
        lines.lock().unwrap().clone()
    }

    /// A line that stands above the bars.
    pub(crate) fn line(&self, text: &str) {
        match &self.form {
            Form::Quiet => {}
            #[cfg(all(test, feature = "failpoints"))]
            Form::Kept(lines) => drop(lines.lock().map(|mut lines| lines.push(text.to_owned()))),
            Form::Lines => out::note(text),
            Form::Bars => self.bars.suspend(|| out::note(text)),
        }
    }

    /// What went wrong with a step; `--quiet` prints it too.
    pub(crate) fn error(&self, text: &str) {
        if matches!(self.form, Form::Lines | Form::Quiet) {
            out::note(text.trim_end());
        } else {
            self.line(text.trim_end());
        }
    }

    /// A step begins.
    pub(crate) fn start(&self, verb: &'static str, name: &str) {
        let mut bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if matches!(self.form, Form::Bars) {
            bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner} {prefix:<34} {elapsed:>5} {msg}"));
            bar.set_prefix(format!("{verb} {name}"));
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        let now = Instant::now();
        if let Ok(mut steps) = self.steps.lock() {
            steps.insert(verb, ShownStep { bar, name: format!("{verb} {name}"), started: now, last_line: now });
        }
    }

    /// The step of this verb is this far.
    pub(crate) fn amount(&self, verb: &'static str, amount: Amount, unit: &str) {
        let Ok(mut steps) = self.steps.lock() else { return };
        let Some(step) = steps.get_mut(verb) else { return };
        let seconds = step.started.elapsed().as_secs_f64();
        let rate = if seconds > 0.5 { format!(" · {:.0}/s", amount.records as f64 / seconds) } else { String::new() };
        let records =
            if amount.records > 0 { format!(" · {} records{rate}", thousands(amount.records)) } else { String::new() };
        let of = amount.total.map_or_else(String::new, |total| format!("/{total}"));
        let text = format!("{}{of} {unit}{records}", amount.done);
        match self.form {
            Form::Bars => {
                if let Some(total) = amount.total {
                    if step.bar.length() != Some(total) {
                        step.bar.set_style(style("{spinner} {prefix:<34} {elapsed:>5} {bar:24} {msg}"));
                        step.bar.set_length(total);
                    }
                    step.bar.set_position(amount.done);
                }
                step.bar.set_message(text);
            }
            Form::Lines if step.last_line.elapsed() >= LINE_EVERY => {
                step.last_line = Instant::now();
                out::note(format_args!("  {} {text} · {seconds:.0}s", step.name));
            }
            _ => {}
        }
    }

    /// The step of this verb is over; `text` is what became of it.
    pub(crate) fn end(&self, verb: &'static str, text: &str) {
        let step = self.steps.lock().ok().and_then(|mut steps| steps.remove(verb));
        let seconds = step.as_ref().map_or(0.0, |step| step.started.elapsed().as_secs_f64());
        if let Some(step) = step {
            step.bar.finish_and_clear();
        }
        let text = format!("  {text}{}", if seconds >= 0.05 { format!(" ({seconds:.1}s)") } else { String::new() });
        self.line(&text);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}
