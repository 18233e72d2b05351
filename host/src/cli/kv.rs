//! This is `soros kv`: keys and their values, as raw bytes on the standard streams.

use super::console::{Console, Output};
use super::key::KeyArgs;
use super::{Failure, headers};
use crate::client::{
    Client, Consistency, Facts, Found, HeaderText, Read, ReadOptions, Sibling, Unseen,
    WriteOptions, Written,
};
use base64::Engine as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use soros_core::id::BucketName;
use soros_core::limits::VALUE_BYTES_MAX;
use std::io::Read as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum KvCommand {
    /// Write a key's value to standard output
    Get(GetArgs),
    /// Store a value, from standard input unless told otherwise
    Put(PutArgs),
    /// Delete a key
    Del(DelArgs),
    /// List the keys of a bucket, one a line
    Ls(LsArgs),
}

#[derive(Args, Debug)]
pub(super) struct GetArgs {
    #[command(flatten)]
    key: KeyArgs,
    /// How many replicas must answer: one, quorum or all
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
    /// What has been seen of the key: the Soros-Context of an earlier answer, to have it checked
    #[arg(long, value_name = "TOKEN")]
    context: Option<HeaderText>,
    /// Answer only if the value has this `ETag`
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Write nothing if the value has this `ETag`
    #[arg(long, value_name = "ETAG")]
    if_none_match: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct PutArgs {
    #[command(flatten)]
    key: KeyArgs,
    /// The value; standard input when absent
    #[arg(conflicts_with = "file")]
    value: Option<String>,
    /// Take the value from this file; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The type of the value, as in text/plain
    #[arg(long, value_name = "TYPE")]
    content_type: Option<HeaderText>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
pub(super) struct DelArgs {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Args, Debug)]
struct WriteArgs {
    /// What has been seen of the key: the Soros-Context of an earlier answer
    #[arg(long, value_name = "TOKEN")]
    context: Option<HeaderText>,
    /// Without a context, become a sibling of what is there, where no resolver merges
    #[arg(long, conflicts_with = "context")]
    blind: bool,
    /// How many replicas must store it: one, quorum or all
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
    /// How many seconds it lives
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Write only over this `ETag`
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Write only where there is no such `ETag`; `*` where there is no value
    #[arg(long, value_name = "ETAG")]
    if_none_match: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct LsArgs {
    /// The bucket
    bucket: String,
    /// Only keys that begin so
    #[arg(long, default_value = "")]
    prefix: String,
    /// At most so many keys
    #[arg(long)]
    limit: Option<usize>,
}

impl KvCommand {
    pub(super) async fn run(self, client: Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            KvCommand::Get(args) => args.run(&client, console).await,
            KvCommand::Put(args) => args.run(&client, console).await,
            KvCommand::Del(args) => args.run(&client, console).await,
            KvCommand::Ls(args) => args.run(&client, console).await,
        }
    }
}

impl GetArgs {
    async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let (bucket, key) = self.key.parse()?;
        let options = ReadOptions {
            consistency: self.consistency,
            context: self.context,
            if_match: etag(self.if_match.as_deref())?,
            if_none_match: etag(self.if_none_match.as_deref())?,
        };
        let Read { found, facts } = client
            .get(&bucket, &key, &options)
            .await
            .map_err(Failure::read)?;
        show_headers(console, &facts)?;
        match found {
            Found::Value(value) => Ok(show_value(console, &value, &facts)?),
            Found::Siblings(siblings) => {
                console.json(&siblings_json(&siblings, &facts))?;
                Err(Failure::Siblings(siblings.len()))
            }
            Found::NotModified if console.output == Output::Json => {
                Ok(console.json(&json!({"not_modified": true}))?)
            }
            Found::NotModified => Ok(()),
            Found::Nothing => Err(Failure::NoValue),
        }
    }
}

impl PutArgs {
    async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let (bucket, key) = self.key.parse()?;
        let options = WriteOptions {
            content_type: self.content_type,
            ..self.write.options()?
        };
        let value = match (self.value, self.file) {
            (Some(value), _) => value.into_bytes(),
            (None, Some(path)) if path != Path::new("-") => read_file(&path)?,
            (None, _) => console.read_input(VALUE_BYTES_MAX)?,
        };
        if VALUE_BYTES_MAX < value.len() {
            return Err(Failure::TooLarge(VALUE_BYTES_MAX));
        }
        let written = client
            .put(&bucket, &key, Bytes::from(value), &options)
            .await;
        show_written(console, &written.map_err(Failure::write)?)
    }
}

impl DelArgs {
    async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let (bucket, key) = self.key.parse()?;
        let written = client.delete(&bucket, &key, &self.write.options()?).await;
        show_written(console, &written.map_err(Failure::write)?)
    }
}

impl WriteArgs {
    fn options(self) -> Result<WriteOptions, Failure> {
        Ok(WriteOptions {
            consistency: self.consistency,
            context: self.context,
            unseen: if self.blind {
                Unseen::Sibling
            } else {
                Unseen::Refuse
            },
            if_match: etag(self.if_match.as_deref())?,
            if_none_match: etag(self.if_none_match.as_deref())?,
            ttl_seconds: self.ttl,
            ..WriteOptions::default()
        })
    }
}

impl LsArgs {
    async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let bucket: BucketName = self.bucket.parse()?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut cursor: Option<String> = None;
        let mut all = Vec::new();
        while 0 < left {
            let query = self.query(left, cursor.as_deref());
            let mut page = client.list(&bucket, &query).await.map_err(Failure::read)?;
            let items = take_items(&mut page);
            left = left.saturating_sub(items.len());
            match console.output {
                Output::Table => show_keys(console, &items)?,
                Output::Json => all.extend(items),
            }
            cursor = page["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        match console.output {
            Output::Table => Ok(()),
            Output::Json => Ok(console.json(&json!({"items": all, "cursor": cursor}))?),
        }
    }

    fn query(&self, left: usize, cursor: Option<&str>) -> String {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let limit = Some(format!("limit={}", left.min(PAGE_ITEMS)));
        let prefix = (!self.prefix.is_empty()).then(|| format!("prefix={}", encode(&self.prefix)));
        let cursor = cursor.map(|cursor| format!("cursor={}", encode(cursor)));
        let parts: Vec<String> = [limit, prefix, cursor].into_iter().flatten().collect();
        parts.join("&")
    }
}

/// How many keys are asked for at a time: the most that a node gives.
const PAGE_ITEMS: usize = 1_000;

fn take_items(page: &mut Value) -> Vec<Value> {
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// Keys are shown as the node writes them, percent-encoded, so that each is one line.
fn show_keys(console: &mut Console, items: &[Value]) -> Result<(), Failure> {
    for key in items.iter().filter_map(|item| item["key"].as_str()) {
        console.line(key)?;
    }
    Ok(())
}

/// An `ETag` as a header has it: quoted, unless it is `*` or was quoted already.
fn etag(text: Option<&str>) -> Result<Option<HeaderText>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if text == "*" || text.starts_with('"') || text.starts_with("W/") {
        return Ok(Some(text.parse()?));
    }
    Ok(Some(format!("\"{text}\"").parse()?))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let failure = |error| Failure::File(path.to_owned(), error);
    let file = std::fs::File::open(path).map_err(failure)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells that there are too many, without reading them all.
    file.take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failure)?;
    Ok(bytes)
}

fn show_headers(console: &mut Console, facts: &Facts) -> Result<(), Failure> {
    if console.verbose {
        headers::show(console, &facts.headers)?;
    }
    Ok(())
}

fn show_value(console: &mut Console, value: &Bytes, facts: &Facts) -> std::io::Result<()> {
    match console.output {
        Output::Table => console.write(value),
        Output::Json => {
            let value = base64::engine::general_purpose::STANDARD.encode(value);
            let content_type = facts
                .headers
                .get("content-type")
                .and_then(|it| it.to_str().ok());
            console.json(&json!({
                "value": value,
                "content_type": content_type,
                "context": facts.context.as_ref().map(HeaderText::as_str),
                "etag": facts.etag.as_ref().map(HeaderText::as_str),
            }))
        }
    }
}

fn siblings_json(siblings: &[Sibling], facts: &Facts) -> Value {
    json!({"siblings": siblings, "context": facts.context.as_ref().map(HeaderText::as_str)})
}

fn show_written(console: &mut Console, written: &Written) -> Result<(), Failure> {
    show_headers(console, &written.facts)?;
    match console.output {
        Output::Table => Ok(()),
        Output::Json => Ok(console.json(&json!({
            "created": written.created,
            "context": written.facts.context.as_ref().map(HeaderText::as_str),
            "etag": written.facts.etag.as_ref().map(HeaderText::as_str),
        }))?),
    }
}
