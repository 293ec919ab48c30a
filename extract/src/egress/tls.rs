//! How connections are encrypted.
//!
//! Reading the machine's certificates takes longer than all the rest of making a client, and it is the same for each of them:
//! it is done once a process.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt;

/// The configuration of every client. None where the certificates can't be read; that is tried again by the next one.
pub(super) fn shared() -> Option<ClientConfig> {
    static TLS: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(made) = TLS.get() {
        return Some(made.clone());
    }
    let made = make().inspect_err(|error| tracing::debug!(%error, "the machine's certificates can't be read")).ok()?;
    Some(TLS.get_or_init(|| made).clone())
}

fn make() -> Result<ClientConfig, rustls::Error> {
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = versions.with_platform_verifier()?.with_no_client_auth();
    // What a client says of itself by its own choice; with a configuration that is handed to it, it leaves that as it is.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_once() {
        let (one, two) = (shared().unwrap(), shared().unwrap());
        assert!(Arc::ptr_eq(one.crypto_provider(), two.crypto_provider()));
        assert_eq!(one.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }
}
