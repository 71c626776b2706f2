//! Sets of a config: splits, mixtures, and data sets of a Hub on loopback.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sinterlm_config::Check;
use sinterlm_data::{
    DataError, Hub, LoadedSet, RecordForm, RecordsConfig, RecordsSource, SetConfig, load_records,
};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A Hub of the data set `owner/set`.
struct Server {
    endpoint: String,
    /// Method and path of each request.
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(files: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let files: BTreeMap<String, String> = files.collect();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up is part of the tests.
                let _ = answer(stream.unwrap(), &files, &kept);
            }
        });
        Self { endpoint, log }
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn hub(&self, cache: &TempDir) -> Hub {
        Hub {
            endpoint: self.endpoint.clone(),
            cache_dir: cache.path().to_owned(),
            stall_timeout: Duration::from_millis(1500),
            max_attempts: 1,
            // Whatever the environment says: loopback is no network.
            is_offline: false,
            token: None,
        }
    }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, String>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(());
    };
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    log.lock().unwrap().push(format!("{method} {path}"));
    let listing = {
        let names = files
            .keys()
            .map(|name| format!("{{\"rfilename\":\"{name}\"}}"));
        let names: Vec<String> = names.collect();
        format!(
            "{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}",
            names.join(",")
        )
    };
    let file = path.strip_prefix(&format!("/datasets/owner/set/resolve/{COMMIT}/"));
    let file = file.or_else(|| path.strip_prefix("/datasets/owner/set/resolve/v1/"));
    let body = match path {
        "/api/datasets/owner/set/revision/main" => Some(&listing),
        _ => file.and_then(|file| files.get(file)),
    };
    let Some(body) = body else {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
    };
    let hash = Sha256::digest(body);
    let etag = hash
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let shown = if method == "HEAD" { "" } else { body };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nx-repo-commit: {COMMIT}\r\netag: \"{etag}\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{shown}",
        body.len()
    )
}

fn config(toml: &str) -> RecordsConfig {
    toml::from_str(toml).unwrap()
}

fn load(config: &RecordsConfig, hub: &Hub) -> Result<Vec<LoadedSet>, DataError> {
    load_records(config, hub, &mut |_, _, _| ())
}

const TRAIN: &str = r#"{"prompt":"q","response_0":"a","response_1":"b","better_response_id":1}"#;

#[test]
fn a_set_of_the_hub_is_found_by_its_name_and_read_again_without_the_network() {
    let server = Server::start(&[
        ("README.md", "# A set"),
        ("data/a/test.jsonl", TRAIN),
        ("data/a/train.jsonl", TRAIN),
        ("data/b/train.jsonl", TRAIN),
        ("data/train.parquet", "PAR1"),
    ]);
    let cache = TempDir::new().unwrap();
    let config = config("source = { kind = \"hub\", repo = \"owner/set\" }");
    let sets = load(&config, &server.hub(&cache)).unwrap();
    assert_eq!(sets.len(), 1);
    assert_eq!(
        (sets[0].train.form, sets[0].train.records.len()),
        (RecordForm::Preference, 2)
    );
    assert_eq!(sets[0].test.as_ref().unwrap().records.len(), 1);
    assert_eq!(sets[0].valid, None);
    assert_eq!(
        server.requests()[0],
        "GET /api/datasets/owner/set/revision/main"
    );

    let offline = Hub {
        is_offline: true,
        ..server.hub(&cache)
    };
    assert_eq!(load(&config, &offline).unwrap(), sets);
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn named_files_of_the_hub_are_fetched_alone() {
    let server = Server::start(&[("a.csv", "label,text\nham,x\n"), ("b.csv", "label,text\n")]);
    let cache = TempDir::new().unwrap();
    let config = config(
        "source = { kind = \"hub\", repo = \"owner/set\", train = [\"a.csv\"], revision = \"v1\" }",
    );
    let sets = load(&config, &server.hub(&cache)).unwrap();
    assert_eq!(sets[0].train.records[0].label(), Some("ham"));
    let paths: Vec<String> = server.requests();
    assert!(
        paths.iter().all(|path| path.ends_with("/a.csv")),
        "{paths:?}"
    );
}

#[test]
fn a_set_without_records_or_without_the_network_is_told() {
    let server = Server::start(&[("README.md", ""), ("weights.bin", "")]);
    let cache = TempDir::new().unwrap();
    let mut config = config("source = { kind = \"hub\", repo = \"owner/set\" }");
    let offline = Hub {
        is_offline: true,
        ..server.hub(&cache)
    };
    let fault = load(&config, &offline).unwrap_err().to_string();
    assert!(
        fault.contains("the list of files of owner/set@main"),
        "{fault}"
    );
    let fault = load(&config, &server.hub(&cache)).unwrap_err().to_string();
    assert!(
        fault.contains("among its files are: README.md, weights.bin"),
        "{fault}"
    );
    if let Some(RecordsSource::Hub { repo, .. }) = &mut config.source {
        *repo = "owner/other".into();
    }
    let fault = load(&config, &server.hub(&cache)).unwrap_err();
    assert!(
        matches!(fault, DataError::HubRefused { status: 404, .. }),
        "{fault}"
    );
}

#[test]
fn a_mixture_has_a_task_a_weight_and_a_cap_for_each_set() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let qa = write("qa.csv", "Question,Answer\na,b\nc,d\ne,f\n");
    let spam = write("spam.tsv", "ham\ta\nspam\tb\n");
    let config = config(&format!(
        "max_records = 2\n\
         [[sets]]\nname = \"qa\"\nweight = 0.5\nsource = {{ kind = \"files\", train = [\"{qa}\"], test = [\"{qa}\"] }}\n\
         [[sets]]\nname = \"spam\"\nmax_records = 1\nform = \"labelled\"\nsource = {{ kind = \"files\", train = [\"{spam}\"] }}\n"
    ));
    let sets = load(&config, &Hub::from_env(true)).unwrap();
    let shown: Vec<_> = sets
        .iter()
        .map(|set| {
            let tasks = set
                .train
                .records
                .iter()
                .map(|record| record.task.as_deref());
            (
                set.name.as_deref(),
                set.weight,
                set.train.form,
                tasks.collect::<Vec<_>>(),
            )
        })
        .collect();
    let (qa, spam) = (Some("qa"), Some("spam"));
    assert_eq!(shown[0], (qa, 0.5, RecordForm::Completion, vec![qa, qa]));
    assert_eq!(shown[1], (spam, 1.0, RecordForm::Labelled, vec![spam]));
    assert_eq!(sets[0].test.as_ref().unwrap().records.len(), 2);
}

#[test]
fn a_config_is_checked_and_keeps_what_it_says() {
    let whole = config(
        "form = \"share_gpt\"\nheader = \"no\"\nlabel_column = \"last\"\nbad_records = \"skip\"\n\
         invalid_utf8 = \"replace\"\nmax_records = 5\n\
         [fields]\nmessages = \"turns\"\n\
         [source]\nkind = \"files\"\ntrain = [\"a.json\"]\n",
    );
    assert!(Check::of(&whole).is_empty());
    assert_eq!(config(&toml::to_string(&whole).unwrap()), whole);
    assert!(toml::from_str::<RecordsConfig>("fields = { mesages = \"a\" }").is_err());

    let source = RecordsSource::Files {
        train: Vec::new(),
        valid: Vec::new(),
        test: Vec::new(),
    };
    let set = SetConfig {
        name: String::new(),
        source: source.clone(),
        form: RecordForm::Auto,
        fields: whole.fields.clone(),
        weight: 0.0,
        max_records: Some(0),
    };
    let wrong = RecordsConfig {
        source: Some(source),
        sets: vec![set.clone(), set],
        max_records: Some(0),
        ..RecordsConfig::default()
    };
    let faults = Check::of(&wrong);
    let paths: Vec<&str> = faults.iter().map(|fault| &*fault.path).collect();
    let expected = [
        "max_records",
        "sets",
        "source.train",
        "sets.0.name",
        "sets.0.weight",
        "sets.0.max_records",
        "sets.0.source.train",
        "sets.1.name",
        "sets.1.weight",
        "sets.1.max_records",
        "sets.1.source.train",
        "sets.1.name",
    ];
    assert_eq!(paths, expected);
}
