//! Where requests may go, whoever makes them.
//!
//! A site decides what its pages load, where they redirect and what its name resolves to, and we sit in a network that has
//! more in it than sites: the machine itself, its neighbours, the address from which a cloud hands out its keys. So nothing
//! leaves without passing here, and a request passes when
//!
//! - its address is plain: http or https, no user, no odd form of a number (`egress/address.rs`);
//! - its host is *declared*: by the source, or by `[hosts]` of the project;
//! - every address that its name resolves to is public, or `[hosts]` points there.
//!
//! The connection goes to the addresses that were looked at and not to what the name resolves to a moment later.
//!
//! - `egress/address.rs`: which addresses are public;
//! - `egress/ask.rs`: one plain request, bounded in bytes and time;
//! - `egress/proxy.rs`: the same door for a browser, whose frames, workers and sockets ask by themselves.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

mod address;
mod ask;
mod proxy;
mod tls;

pub(crate) use address::is_public;
pub(crate) use ask::{Answer, AskError, ask};
pub(crate) use proxy::Proxy;

/// Why a request does not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EgressDenied {
    /// Not an address that is asked.
    #[error("expected an http or https address without a user, found {found}")]
    Form {
        /// What it is instead.
        found: String,
    },
    /// Nobody said that the source talks to it.
    #[error("`{host}` is no host of the source; if it is meant, add it to `hosts` under [egress] of the source file")]
    Undeclared {
        /// The host.
        host: String,
    },
    /// It is not out there.
    #[error(
        "`{host}` is at {address}, which is not a public address; if it is meant, add `[hosts.\"{host}\"]` with its `url` to the project"
    )]
    Private {
        /// The host.
        host: String,
        /// Where its name leads.
        address: IpAddr,
    },
    /// Its name leads nowhere.
    #[error("`{host}` has no address: {why}")]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        why: String,
    },
}

impl EgressDenied {
    /// Whether it may be another answer next time.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unresolved { .. })
    }
}

/// The hosts that somebody declared: names, with `*.` for any name below one, with a port where it is not the usual one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared(Vec<String>);

impl Declared {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().filter(|name| !name.is_empty()).map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a host is one of them. Names end with a dot or not.
    pub(crate) fn has(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|name| {
            let own = name.rsplit_once(':').and_then(|(name, own)| Some((name, own.parse::<u16>().ok()?)));
            let (name, fits) = match own {
                Some((name, own)) => (name, own == port),
                None => (name.as_str(), port == 80 || port == 443),
            };
            fits && match name.strip_prefix("*.") {
                Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
                None => host == name,
            }
        })
    }
}

/// The door.
pub(crate) struct Egress {
    /// Where `[hosts]` points: those may be anywhere.
    pointed: HashSet<(String, u16)>,
}

impl Egress {
    /// `bases` are the addresses that the project's `[hosts]` points at.
    pub(crate) fn new(bases: impl IntoIterator<Item = Url>) -> Self {
        let at = |url: Url| Some((bare(url.host_str()?).to_ascii_lowercase(), url.port_or_known_default()?));
        Self { pointed: bases.into_iter().filter_map(at).collect() }
    }

    /// Whether `[hosts]` points there.
    pub(crate) fn is_pointed_at(&self, host: &str, port: u16) -> bool {
        self.pointed.contains(&(bare(host).to_ascii_lowercase(), port))
    }

    fn is_pointed_elsewhere(&self, host: &str, port: u16) -> bool {
        !self.is_pointed_at(host, port) && self.pointed.iter().any(|(name, _)| name.eq_ignore_ascii_case(host))
    }

    /// What can be said of an address before its name is resolved.
    pub(crate) fn check_form(&self, url: &Url) -> Result<(), EgressDenied> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressDenied::Form { found: format!("`{}:`", url.scheme()) });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressDenied::Form { found: "one with a user".to_owned() });
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            // A name that `[hosts]` points at at one port is nobody's at another: the resolver doesn't know the port.
            Some(Host::Domain(name)) if self.is_pointed_elsewhere(name, port) => {
                return Err(EgressDenied::Undeclared { host: format!("{name}:{port}") });
            }
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(EgressDenied::Form { found: "one without a host".to_owned() }),
        };
        let host = url.host_str().unwrap_or_default();
        if self.is_pointed_at(host, port) || is_public(address) {
            return Ok(());
        }
        Err(EgressDenied::Private { host: host.to_owned(), address })
    }

    /// The same for a request that follows another: its host must be declared as well.
    pub(crate) fn check_declared(&self, url: &Url, declared: &Declared) -> Result<(), EgressDenied> {
        self.check_form(url)?;
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        if declared.has(host, port) || self.is_pointed_at(host, port) {
            return Ok(());
        }
        Err(EgressDenied::Undeclared { host: host.to_owned() })
    }

    /// The addresses of a host, all of them looked at.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, EgressDenied> {
        let is_free = self.is_pointed_at(host, port);
        let found: Vec<SocketAddr> = match tokio::net::lookup_host((bare(host), port)).await {
            Ok(found) => found.collect(),
            Err(error) => return Err(EgressDenied::Unresolved { host: host.to_owned(), why: error.to_string() }),
        };
        looked_at(host, found, is_free)
    }

    /// A client whose names are resolved here and whose redirects are followed by hand.
    pub(crate) fn client(self: &Arc<Self>, user_agent: &str) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder();
        // Where the certificates can't be read, the builder says so in its own words.
        let builder = match tls::shared() {
            Some(tls) => builder.tls_backend_preconfigured(tls),
            None => builder,
        };
        builder
            .user_agent(user_agent)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(std::time::Duration::from_secs(10))
            .pool_idle_timeout(std::time::Duration::from_secs(30))
            .dns_resolver(Arc::new(Resolver(Arc::clone(self))))
    }
}

fn looked_at(host: &str, found: Vec<SocketAddr>, is_free: bool) -> Result<Vec<SocketAddr>, EgressDenied> {
    if found.is_empty() {
        return Err(EgressDenied::Unresolved { host: host.to_owned(), why: "the name leads nowhere".to_owned() });
    }
    // One that is not public condemns the name: which of them is asked is not ours to say.
    match found.iter().find(|address| !is_free && !is_public(address.ip())) {
        Some(address) => Err(EgressDenied::Private { host: host.to_owned(), address: address.ip() }),
        None => Ok(found),
    }
}

/// `[::1]` → `::1`
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("pointed", &self.pointed).finish()
    }
}

/// Names of plain requests.
struct Resolver(Arc<Egress>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            // The port is not known here; that this host and port are pointed at was looked at before.
            let is_free = egress.pointed.iter().any(|(pointed, _)| pointed.eq_ignore_ascii_case(host));
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0))
                .await
                .map_err(|error| EgressDenied::Unresolved { host: host.to_owned(), why: error.to_string() })?
                .collect();
            let addresses: Addrs = Box::new(looked_at(host, found, is_free)?.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
