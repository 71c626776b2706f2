//! Requests to the Hub: what the server announces, downloads that resume where they stopped,
//! retries after a failure. `part` keeps the bytes on disk, `layout` their place in the cache.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::{Agent, Body};

use super::announced::{Announced, is_commit, is_hex};
use super::endpoint::Hub;
use super::file::{HubFile, RepoType};
use super::part::{BUFFER_BYTES, Part};
use crate::DataError;

const MAX_REDIRECTS: u32 = 8;
/// Some hundred thousand files.
const MAX_LISTING_BYTES: u64 = 64 << 20;

/// Why an attempt failed.
enum Fault {
    /// Another attempt may succeed; `advanced` if this one brought new bytes.
    Passing {
        cause: Box<dyn Error + Send + Sync>,
        advanced: bool,
    },
    /// Another attempt would fail in the same way.
    Final(DataError),
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Self {
        Self::Final(error)
    }
}

fn passing(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Fault {
    Fault::Passing {
        cause: cause.into(),
        advanced: false,
    }
}

/// Asks for a file's commit, hash and size.
///
/// The Hub sends them as `X-Repo-Commit`, `X-Linked-ETag` and `X-Linked-Size` with its redirect to
/// the storage, or for small files as the plain headers of the answer.
pub(super) fn announce(hub: &Hub, file: &HubFile) -> Result<Announced, DataError> {
    let agent = agent(hub);
    let first_url = file_url(hub, file, &file.revision);
    retry(hub, &first_url, || {
        let (mut commit, mut etag, mut size) = (None, None, None);
        let mut url = first_url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = agent.head(&url).header("accept-encoding", "identity");
            if let Some(value) = authorization(hub, &url) {
                request = request.header(header::AUTHORIZATION, value);
            }
            let response = checked(request.call(), &url)?;
            let headers = response.headers();
            commit = text(headers, "x-repo-commit").or(commit);
            etag = text(headers, "x-linked-etag").or(etag);
            size = text(headers, "x-linked-size").or(size);
            if response.status().is_redirection() {
                if commit.is_some() && etag.is_some() && size.is_some() {
                    break;
                }
                url = target_of(&url, headers)?;
            } else {
                etag = etag.or_else(|| text(headers, "etag"));
                size = size.or_else(|| text(headers, "content-length"));
                break;
            }
        }
        let unusable = |what: &str| DataError::HubAnswer {
            url: first_url.clone(),
            fault: format!("names no {what} of the file"),
        };
        let commit = commit
            .filter(|text| is_commit(text))
            .ok_or_else(|| unusable("commit"))?;
        let etag = etag
            .map(|text| text.trim_start_matches("W/").trim_matches('"').to_owned())
            .filter(|text| is_hex(text, 64) || is_hex(text, 40))
            .ok_or_else(|| unusable("SHA-256 or Git hash"))?;
        let size_bytes = size
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unusable("size"))?;
        Ok(Announced {
            commit,
            etag,
            size_bytes,
        })
    })
}

/// Downloads a file to `blob`, unless it is there; returns once size and hash are right.
pub(super) fn download(
    hub: &Hub,
    file: &HubFile,
    announced: &Announced,
    blob: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), DataError> {
    let failed = |source| DataError::Io {
        path: blob.to_owned(),
        action: "write",
        source,
    };
    std::fs::create_dir_all(blob.parent().unwrap_or(blob)).map_err(failed)?;
    // The commit's address, so that a branch that moves meanwhile does not mix two files.
    let url = file_url(hub, file, &announced.commit);
    let mut part = Part::open(blob, announced)?;
    if blob.is_file() {
        // Another process finished it while this one waited for the lock.
        // Its file may have been renamed away.
        let _ = part.discard();
        return Ok(());
    }
    let agent = agent(hub);
    progress(part.len, announced.size_bytes);
    retry(hub, &url, || {
        pull(
            (hub, &agent),
            &url,
            &mut part,
            announced.size_bytes,
            progress,
        )
    })?;
    let found = part.hash.finish();
    if found != announced.etag {
        part.discard()?;
        return Err(DataError::HubCorrupt {
            url,
            expected: announced.etag.clone(),
            found,
        });
    }
    part.file.sync_all().map_err(failed)?;
    std::fs::rename(&part.path, blob).map_err(failed)
}

/// One connection's worth of bytes.
fn pull(
    (hub, agent): (&Hub, &Agent),
    url: &str,
    part: &mut Part,
    size_bytes: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Fault> {
    if part.len == size_bytes {
        return Ok(());
    }
    let response = match get(hub, agent, url, part.len) {
        Err(Fault::Final(DataError::HubRefused { status: 416, .. })) => {
            part.restart()?;
            return Err(passing("the server cannot go on where it stopped"));
        }
        response => response?,
    };
    if response.status() != 206 {
        part.restart()?;
    } else if range_start(response.headers()) != Some(part.len) {
        part.restart()?;
        return Err(passing("the server sent another range than asked for"));
    }
    let announced = response.body().content_length().map(|rest| part.len + rest);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; BUFFER_BYTES];
    let longest_before = part.longest;
    // One byte too many is enough to know that the length is a lie.
    let mut found_bytes = announced.unwrap_or(size_bytes);
    while found_bytes == size_bytes {
        let count = match body.read(&mut buffer) {
            Ok(0) if part.len == size_bytes => return Ok(()),
            read => match read.and_then(|n| if n == 0 { Err(cut_off()) } else { Ok(n) }) {
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => {
                    let advanced = part.longest > longest_before;
                    return Err(Fault::Passing {
                        cause: cause.into(),
                        advanced,
                    });
                }
            },
        };
        if part.len + count as u64 > size_bytes {
            found_bytes = part.len + count as u64;
        } else {
            part.append(&buffer[..count])?;
            progress(part.len, size_bytes);
        }
    }
    part.discard()?;
    let fault = format!("announced {size_bytes} bytes and sends {found_bytes}");
    Err(DataError::HubAnswer {
        url: url.to_owned(),
        fault,
    }
    .into())
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the transfer ended early")
}

/// Repeats `step` with growing pauses until it succeeds, fails for good, or has failed
/// `max_attempts` times in a row without a new byte.
fn retry<T>(
    hub: &Hub,
    url: &str,
    mut step: impl FnMut() -> Result<T, Fault>,
) -> Result<T, DataError> {
    let mut failures = 0;
    loop {
        let (cause, advanced) = match step() {
            Ok(value) => return Ok(value),
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Passing { cause, advanced }) => (cause, advanced),
        };
        failures = if advanced { 1 } else { failures + 1 };
        if failures >= hub.max_attempts {
            return Err(DataError::HubTransfer {
                url: url.to_owned(),
                attempts: failures,
                source: cause,
            });
        }
        tracing::warn!(url, failures, %cause, "the transfer failed, trying again");
        std::thread::sleep(hub.stall_timeout / 30 * 2_u32.pow((failures - 1).min(4)));
    }
}

/// Requests a file's bytes from `start` on and follows the Hub's redirects.
fn get(hub: &Hub, agent: &Agent, url: &str, start: u64) -> Result<Response<Body>, Fault> {
    let mut url = url.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = agent.get(&url).header("accept-encoding", "identity");
        if let Some(value) = authorization(hub, &url) {
            request = request.header(header::AUTHORIZATION, value);
        }
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        let response = checked(request.call(), &url)?;
        if !response.status().is_redirection() {
            return Ok(response);
        }
        url = target_of(&url, response.headers())?;
    }
    let fault = "redirects in circles".to_owned();
    Err(DataError::HubAnswer { url, fault }.into())
}

/// Where a redirect leads to.
fn target_of(url: &str, headers: &HeaderMap) -> Result<String, Fault> {
    let target = text(headers, "location").and_then(|target| resolve(url, &target));
    target.ok_or_else(|| {
        DataError::HubAnswer {
            url: url.to_owned(),
            fault: "redirects nowhere".to_owned(),
        }
        .into()
    })
}

/// The header that identifies the user to the endpoint; `None` for any other server.
fn authorization(hub: &Hub, url: &str) -> Option<String> {
    let path = url.strip_prefix(hub.endpoint.as_str())?;
    let token = hub.token.as_ref().filter(|_| path.starts_with('/'))?;
    Some(format!("Bearer {}", token.0))
}

fn agent(hub: &Hub) -> Agent {
    Agent::config_builder()
        .max_redirects(0) // followed here, so that only the endpoint sees the token
        .http_status_as_error(false)
        .timeout_connect(Some(hub.stall_timeout.min(Duration::from_secs(10))))
        .timeout_recv_response(Some(hub.stall_timeout))
        .timeout_per_read(Some(hub.stall_timeout))
        .user_agent(concat!("sinterlm/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Sorts answers: success and redirects pass, an overloaded server may do better later.
fn checked(
    answer: Result<Response<Body>, ureq::Error>,
    url: &str,
) -> Result<Response<Body>, Fault> {
    let response = answer.map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Fault::Final(DataError::HubTransfer {
                url: url.to_owned(),
                attempts: 1,
                source: error.into(),
            })
        }
        error => passing(error),
    })?;
    match response.status().as_u16() {
        200..400 => Ok(response),
        status @ (408 | 429 | 500..) => {
            Err(passing(format!("the server answers with status {status}")))
        }
        status => Err(DataError::HubRefused {
            url: url.to_owned(),
            status,
        }
        .into()),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The first byte of the range in `Content-Range: bytes FIRST-LAST/TOTAL`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, header::CONTENT_RANGE.as_str())?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

/// The address that a redirect from `url` leads to; `None` where it has no meaning.
fn resolve(url: &str, target: &str) -> Option<String> {
    if target.starts_with("http://") || target.starts_with("https://") {
        return Some(target.to_owned());
    }
    let uri: Uri = url.parse().ok()?;
    target.starts_with('/').then_some(())?;
    Some(format!(
        "{}://{}{target}",
        uri.scheme_str()?,
        uri.authority()?
    ))
}

/// Asks what a repository holds; returns the address and the answer.
pub(super) fn listing(hub: &Hub, file: &HubFile) -> Result<(String, Vec<u8>), DataError> {
    let kind = match file.repo_type {
        RepoType::Model => "models",
        RepoType::Dataset => "datasets",
    };
    let (repo, revision) = (escaped(&file.repo, true), escaped(&file.revision, false));
    let url = format!("{}/api/{kind}/{repo}/revision/{revision}", hub.endpoint);
    let agent = agent(hub);
    let bytes = retry(hub, &url, || {
        let body = get(hub, &agent, &url, 0)?.into_body();
        let limited = body.into_with_config().limit(MAX_LISTING_BYTES);
        limited.read_to_vec().map_err(passing)
    })?;
    Ok((url, bytes))
}

/// `ENDPOINT/[datasets/]REPO/resolve/REVISION/FILE`.
fn file_url(hub: &Hub, file: &HubFile, revision: &str) -> String {
    let kind = match file.repo_type {
        RepoType::Model => "",
        RepoType::Dataset => "datasets/",
    };
    let (repo, name) = (escaped(&file.repo, true), escaped(&file.file, true));
    format!(
        "{}/{kind}{repo}/resolve/{}/{name}",
        hub.endpoint,
        escaped(revision, false)
    )
}

/// Percent-escapes what RFC 3986 reserves; a branch's own slashes too, a path's not.
fn escaped(text: &str, keeps_slashes: bool) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            b'/' if keeps_slashes => url.push('/'),
            _ => write!(url, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_escape_what_is_special() {
        let hub = Hub {
            endpoint: "http://h".to_owned(),
            ..Hub::from_env(true)
        };
        let file = HubFile::dataset("o/n", "a dir/ü?.txt");
        assert_eq!(
            file_url(&hub, &file, "refs/pr/1"),
            "http://h/datasets/o/n/resolve/refs%2Fpr%2F1/a%20dir/%C3%BC%3F.txt"
        );
    }

    #[test]
    fn redirects_resolve_against_the_server() {
        let resolved = resolve("http://h:1/a/b?c", "/d?e");
        assert_eq!(resolved.as_deref(), Some("http://h:1/d?e"));
        assert_eq!(
            resolve("http://h/a", "https://x/y").as_deref(),
            Some("https://x/y")
        );
        assert_eq!(resolve("http://h/a", "y"), None);
    }
}
