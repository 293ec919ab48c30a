//! The door for a browser: a forward proxy on loopback.
//!
//! A page asks for itself, its frames, workers and sockets do too, and no protocol of the browser's shows us all of them
//! before they leave. All of them go through the browser's proxy, so that is where they are looked at. One proxy serves one
//! page of one source; it wants a password that only that browser was told, or whoever is on this machine could use it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use url::Url;

use super::{Declared, Egress, EgressDenied};

/// Connections of one page at the same time.
const MOST_CONNECTIONS: usize = 128;

/// How many refused hosts are remembered.
const MOST_REMEMBERED: usize = 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A running proxy. Dropping it ends it and every connection through it.
pub(crate) struct Proxy {
    address: SocketAddr,
    password: String,
    refused: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

/// Where a host's requests really go, as `[hosts]` has it; nowhere, if that is no place for such a request.
pub(crate) type Locate = Arc<dyn Fn(&Url) -> Option<Url> + Send + Sync>;

/// What every connection needs to know.
struct Door {
    egress: Arc<Egress>,
    declared: Declared,
    locate: Locate,
    authorization: String,
    refused: Arc<Mutex<Vec<String>>>,
}

type Reply = Response<BoxBody<Bytes, hyper::Error>>;

impl Proxy {
    /// Listens on a port of loopback.
    pub(crate) async fn start(egress: Arc<Egress>, declared: Declared, locate: Locate) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let password = hex::encode(rand::random::<[u8; 16]>());
        let refused = Arc::new(Mutex::default());
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{}:{password}", Self::USER));
        let authorization = format!("Basic {credentials}");
        let door = Arc::new(Door { egress, declared, locate, authorization, refused: Arc::clone(&refused) });
        let task = tokio::spawn(serve(listener, door));
        Ok(Self { address, password, refused, task })
    }

    /// Who the browser says it is.
    pub(crate) const USER: &'static str = "onggi";

    /// What the browser is told.
    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Hosts that the page asked for and was not let to, each once.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, door: Arc<Door>) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // Ends every connection when the page is done.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let door = Arc::clone(&door);
        connections.spawn(async move {
            // A tunnel outlives the request that opened it: it runs here, so that it ends with the proxy.
            let (sender, mut tunnels) = tokio::sync::mpsc::channel(1);
            let service = hyper::service::service_fn(|request| {
                let (door, sender) = (Arc::clone(&door), sender.clone());
                async move { Ok::<_, std::convert::Infallible>(door.answer(request, &sender).await) }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .preserve_header_case(true)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = serving.await {
                tracing::trace!(%error, "a connection of the browser ended");
            }
            if let Ok(tunnel) = tunnels.try_recv() {
                tunnel_through(tunnel).await;
            }
            drop(permit);
        });
    }
}

/// A connection that was let through.
struct Tunnel {
    upgrade: hyper::upgrade::OnUpgrade,
    there: TcpStream,
}

async fn tunnel_through(tunnel: Tunnel) {
    let Tunnel { upgrade, mut there } = tunnel;
    match upgrade.await {
        Ok(here) => {
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(here), &mut there).await;
        }
        Err(error) => tracing::trace!(%error, "a tunnel was not opened"),
    }
}

impl Door {
    async fn answer(&self, request: Request<Incoming>, tunnels: &tokio::sync::mpsc::Sender<Tunnel>) -> Reply {
        let said = request.headers().get(header::PROXY_AUTHORIZATION).map(HeaderValue::as_bytes);
        if said != Some(self.authorization.as_bytes()) {
            let mut reply = plain(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "who are you?");
            reply.headers_mut().insert(header::PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"onggi\""));
            return reply;
        }
        let passed = if request.method() == Method::CONNECT {
            self.connect(request, tunnels).await
        } else {
            self.forward(request).await
        };
        passed.unwrap_or_else(|reply| *reply)
    }

    /// Opens a tunnel for TLS, and for sockets.
    async fn connect(
        &self,
        request: Request<Incoming>,
        tunnels: &tokio::sync::mpsc::Sender<Tunnel>,
    ) -> Result<Reply, Box<Reply>> {
        let named = request.uri().authority().map(Authority::as_str).unwrap_or_default();
        let url = Url::parse(&format!("https://{named}/"))
            .map_err(|_| self.refuse(named, &EgressDenied::Form { found: "none".to_owned() }))?;
        let (url, there) = self.open(&url).await?;
        // A tunnel carries what it carries: it can't be led to a place that speaks otherwise. Plain sockets are tunnelled
        // too, to the port of plain requests.
        if url.scheme() != "https" && !named.ends_with(":80") {
            return Err(Box::new(plain(StatusCode::BAD_GATEWAY, "its place in [hosts] speaks no TLS")));
        }
        let tunnel = Tunnel { upgrade: hyper::upgrade::on(request), there };
        match tunnels.try_send(tunnel) {
            Ok(()) => Ok(empty(StatusCode::OK)),
            Err(_) => Err(Box::new(plain(StatusCode::BAD_GATEWAY, "one tunnel a connection"))),
        }
    }

    /// Passes a plain request on.
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Reply, Box<Reply>> {
        let named = request.uri().to_string();
        let url =
            Url::parse(&named).map_err(|_| self.refuse(&named, &EgressDenied::Form { found: "none".to_owned() }))?;
        let (url, there) = self.open(&url).await?;
        if url.scheme() != "http" {
            return Err(Box::new(plain(StatusCode::BAD_GATEWAY, "its place in [hosts] speaks TLS")));
        }
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let path = path.parse::<PathAndQuery>().map_err(|_| bad_gateway())?;
        *request.uri_mut() = Uri::from(path);
        without_hops(request.headers_mut());
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(host).map_err(|_| bad_gateway())?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(there)).await.map_err(|_| bad_gateway())?;
        // It ends when nobody reads the answer any more.
        let connection = tokio::spawn(connection);
        let mut response = sender.send_request(request).await.map_err(|error| {
            tracing::trace!(%error, "a request of the page broke off");
            connection.abort();
            bad_gateway()
        })?;
        without_hops(response.headers_mut());
        Ok(response.map(BodyExt::boxed))
    }

    /// Looks at where a request goes and connects there.
    async fn open(&self, url: &Url) -> Result<(Url, TcpStream), Box<Reply>> {
        let host = url.host_str().unwrap_or_default();
        let looked_at = self.egress.check_form(url).and_then(|()| self.egress.check_declared(url, &self.declared));
        looked_at.map_err(|refusal| Box::new(self.refuse(host, &refusal)))?;
        let really = (self.locate)(url).ok_or_else(|| Box::new(bad_gateway()))?;
        let (host, port) = (really.host_str().unwrap_or_default(), really.port_or_known_default().unwrap_or_default());
        let addresses =
            self.egress.addresses(host, port).await.map_err(|refusal| Box::new(self.refuse(host, &refusal)))?;
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addresses.as_slice())).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                Ok((really, stream))
            }
            _ => Err(Box::new(bad_gateway())),
        }
    }

    fn refuse(&self, host: &str, refusal: &EgressDenied) -> Reply {
        tracing::debug!(host, %refusal, "a request of the page does not leave");
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let host = crate::items::excerpt(host, 100);
        if refused.len() < MOST_REMEMBERED && !refused.contains(&host) {
            refused.push(host);
        }
        plain(StatusCode::FORBIDDEN, "this request does not leave")
    }
}

/// What is between two neighbours and goes no further (RFC 9110, 7.6.1).
fn without_hops(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let usual =
        ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "upgrade"];
    for name in usual.into_iter().chain(named.iter().map(String::as_str)) {
        headers.remove(name);
    }
}

fn bad_gateway() -> Reply {
    plain(StatusCode::BAD_GATEWAY, "no connection")
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    let mut reply =
        Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed());
    *reply.status_mut() = status;
    reply
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *reply.status_mut() = status;
    reply
}
