//! The one place that reads the clock.

use catalog::{Date, Timestamp};
use jiff::tz::TimeZone;

/// This instant.
pub(crate) fn now() -> Timestamp {
    #[cfg(all(test, feature = "failpoints"))]
    if let Some(now) = catalog::simulation::now() {
        return now;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "cli is the one reader of the clock; everyone else is handed the time"
    )]
    Timestamp::now()
}

/// The name of this machine's time zone; UTC where it has none.
pub(crate) fn zone_here() -> String {
    TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

/// The day that it is now in the project's time zone.
pub(crate) fn today(zone: &TimeZone) -> Date {
    now().to_zoned(zone.clone()).date()
}
