//! Where the Hub and its cache are, who asks, and whether the Hub can be reached. Fetching is `fetch`'s.

use std::ffi::OsString;
use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use ureq::http::Uri;

/// How long [`Hub::is_reachable`] tries.
const PROBE: Duration = Duration::from_secs(3);

/// A Hub and this machine's cache of it, in the layout that Python's `huggingface_hub` shares.
///
/// # Example
/// ```
/// use sinterlm_data::{Hub, HubFile};
///
/// let hub = Hub { cache_dir: "no-such-folder".into(), ..Hub::from_env(true) };
/// let file = HubFile::tinystories_valid();
/// assert_eq!(hub.cached(&file), None);
/// let fault = hub.fetch(&file, &mut |_done, _total| ()).unwrap_err();
/// assert!(fault.to_string().contains("offline"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Address without a trailing slash, such as `https://huggingface.co`.
    pub endpoint: String,
    /// The cache folder, such as `~/.cache/huggingface/hub`.
    pub cache_dir: PathBuf,
    /// Whether the network must not be used.
    pub is_offline: bool,
    /// A connection is closed after this long without a byte; 30 s by default. Pauses between
    /// attempts start at a thirtieth of it and double.
    pub stall_timeout: Duration,
    /// A transfer fails after this many attempts in a row without a new byte; 4 by default.
    pub max_attempts: u32,
    /// Who asks, for private and gated repositories; sent to the endpoint alone.
    pub token: Option<HubToken>,
}

/// An access token of the Hub, as its users make them; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct HubToken(pub String);

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(..)")
    }
}

impl Hub {
    /// The Hub that the environment names: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, and for the cache
    /// `HF_HUB_CACHE`, `HF_HOME` or `XDG_CACHE_HOME`, in this order; an empty variable counts as
    /// absent. `is_offline` is true where the caller or the environment wants it.
    ///
    /// Proxies are taken from `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`. Certificates are checked
    /// against Mozilla's list, built in.
    pub fn from_env(is_offline: bool) -> Self {
        let hub = Self::from_variables(|name| std::env::var_os(name));
        Self {
            is_offline: is_offline || hub.is_offline,
            ..hub
        }
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let endpoint = text("HF_ENDPOINT").unwrap_or("https://huggingface.co".to_owned());
        let offline = text("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        let folder = |name| variable(name).map(PathBuf::from);
        let cache_dir = folder("HF_HUB_CACHE").unwrap_or_else(|| {
            let home = folder("HF_HOME").unwrap_or_else(|| {
                let user = || std::env::home_dir().unwrap_or_default().join(".cache");
                folder("XDG_CACHE_HOME")
                    .unwrap_or_else(user)
                    .join("huggingface")
            });
            home.join("hub")
        });
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache_dir,
            is_offline: matches!(offline.as_str(), "1" | "on" | "yes" | "true"),
            stall_timeout: Duration::from_secs(30),
            max_attempts: 4,
            token: text("HF_TOKEN").map(|token| HubToken(token.trim().to_owned())),
        }
    }

    /// Whether the endpoint, or the proxy on the way to it, takes a connection within 3 seconds.
    pub fn is_reachable(&self) -> bool {
        let Some(target) = self.connection_target().filter(|_| !self.is_offline) else {
            return false;
        };
        // Name resolution has no time-out of its own, so the probe may outlive its answer.
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let is_open = target.to_socket_addrs().is_ok_and(|mut addresses| {
                addresses.any(|address| TcpStream::connect_timeout(&address, PROBE).is_ok())
            });
            // After the time-out nobody listens.
            let _ = sender.send(is_open);
        });
        receiver.recv_timeout(PROBE).unwrap_or(false)
    }

    fn connection_target(&self) -> Option<(String, u16)> {
        let uri: Uri = self.endpoint.parse().ok()?;
        if let Some(proxy) = ureq::Proxy::try_from_env().filter(|proxy| !proxy.is_no_proxy(&uri)) {
            return Some((proxy.host().to_owned(), proxy.port()));
        }
        let port = uri.port_u16().or(match uri.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        })?;
        Some((uri.host()?.trim_matches(['[', ']']).to_owned(), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        Hub::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_chooses_endpoint_cache_and_offline() {
        let all = hub(&[("HF_ENDPOINT", "http://mirror:81/"), ("HF_HOME", "/h")]);
        assert_eq!(all.endpoint, "http://mirror:81");
        assert_eq!(all.cache_dir, PathBuf::from("/h/hub"));
        assert_eq!(all.connection_target(), Some(("mirror".to_owned(), 81)));
        let cache = hub(&[
            ("HF_HUB_CACHE", "/c"),
            ("HF_HOME", "/h"),
            ("HF_HUB_OFFLINE", "True"),
        ]);
        assert_eq!(cache.cache_dir, PathBuf::from("/c"));
        assert!(cache.is_offline && !all.is_offline);
        let empty = hub(&[
            ("HF_ENDPOINT", ""),
            ("HF_HOME", ""),
            ("XDG_CACHE_HOME", "/x"),
        ]);
        assert_eq!(empty.endpoint, "https://huggingface.co");
        assert_eq!(empty.cache_dir, PathBuf::from("/x/huggingface/hub"));
        assert!(!hub(&[("HF_HUB_OFFLINE", "0")]).is_offline);
    }
}
