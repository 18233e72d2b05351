//! This is the operator's side of the API: buckets, placements, the cluster, where a key lives.
//! Their bodies are JSON as the API page has it, so that a field added there is shown here.

use super::Client;
use super::call::{Answer, Call};
use super::error::ClientError;
use super::kv::key_path;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, IF_MATCH};
use http::{Method, StatusCode};
use serde_json::Value;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketName, PlacementName};
use soros_core::key::Key;
use soros_core::map::plugin::{PluginName, PluginVersion};

/// A configuration and the epoch that it was read under.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The configuration.
    pub config: Value,
    /// The epoch to make a change conditional on.
    pub epoch: Option<Epoch>,
    /// Whether it was made by this request.
    pub created: bool,
}

/// What becomes of the keys of a bucket that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// A bucket that has any is not removed.
    Keep,
    /// They are removed with it.
    Purge,
}

impl Client {
    /// All buckets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn buckets(&self) -> Result<Value, ClientError> {
        self.read("/v1/buckets").await?.json()
    }

    /// The configuration of a bucket.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn bucket(&self, name: &BucketName) -> Result<Configured, ClientError> {
        configured(&self.read(&format!("/v1/buckets/{name}")).await?)
    }

    /// Makes a bucket or replaces its configuration, if the map is still at `epoch`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_bucket(
        &self,
        name: &BucketName,
        config: &Value,
        epoch: Option<Epoch>,
    ) -> Result<Configured, ClientError> {
        self.replace(&format!("/v1/buckets/{name}"), config, epoch)
            .await
    }

    /// Removes a bucket.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_bucket(&self, name: &BucketName, keys: Keys) -> Result<(), ClientError> {
        let purge = match keys {
            Keys::Keep => "",
            Keys::Purge => "?purge=true",
        };
        let call = Call::new(Method::DELETE, &format!("/v1/buckets/{name}{purge}"));
        self.send(&call).await.map(drop)
    }

    /// All placements.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn placements(&self) -> Result<Value, ClientError> {
        self.read("/v1/placements").await?.json()
    }

    /// The configuration of a placement.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn placement(&self, name: &PlacementName) -> Result<Configured, ClientError> {
        configured(&self.read(&format!("/v1/placements/{name}")).await?)
    }

    /// Makes a placement or replaces its configuration, if the map is still at `epoch`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_placement(
        &self,
        name: &PlacementName,
        config: &Value,
        epoch: Option<Epoch>,
    ) -> Result<Configured, ClientError> {
        self.replace(&format!("/v1/placements/{name}"), config, epoch)
            .await
    }

    /// Removes a placement that no bucket uses.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_placement(&self, name: &PlacementName) -> Result<(), ClientError> {
        let call = Call::new(Method::DELETE, &format!("/v1/placements/{name}"));
        self.send(&call).await.map(drop)
    }

    /// The cluster: its nodes, its authority, what is under way.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cluster(&self) -> Result<Value, ClientError> {
        self.read("/v1/cluster").await?.json()
    }

    /// The whole map.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn map(&self) -> Result<Value, ClientError> {
        self.read("/v1/cluster/map").await?.json()
    }

    /// Which nodes hold a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn locate(&self, bucket: &BucketName, key: &Key) -> Result<Value, ClientError> {
        self.read(&key_path("/v1/locate", bucket, key))
            .await?
            .json()
    }

    /// All plugins.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn plugins(&self) -> Result<Value, ClientError> {
        self.read("/v1/plugins").await?.json()
    }

    /// A plugin, and how it stands at the nodes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn plugin(&self, name: &PluginName) -> Result<Value, ClientError> {
        self.read(&format!("/v1/plugins/{name}")).await?.json()
    }

    /// Brings a component to all nodes, if the map is still at `epoch`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn push_plugin(
        &self,
        name: &PluginName,
        version: &PluginVersion,
        component: Bytes,
        epoch: Option<Epoch>,
    ) -> Result<Value, ClientError> {
        let path = release_path(name, version);
        let mut call = Call::new(Method::PUT, &path);
        call.body = component;
        let call = call.header(CONTENT_TYPE, HeaderValue::from_static("application/wasm"));
        self.send(&only_at(call, epoch)).await?.json()
    }

    /// Switches to a version of a plugin, or back to the one before, if the map is still at
    /// `epoch`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn activate_plugin(
        &self,
        name: &PluginName,
        version: Option<&PluginVersion>,
        epoch: Option<Epoch>,
    ) -> Result<Value, ClientError> {
        let call = match version {
            Some(version) => {
                let body = serde_json::json!({"version": version.as_str()});
                let call = Call::new(Method::POST, &format!("/v1/plugins/{name}/activate"));
                call.json(body.to_string().into())
            }
            None => Call::new(Method::POST, &format!("/v1/plugins/{name}/rollback")),
        };
        self.send(&only_at(call, epoch)).await?.json()
    }

    /// What switching to a version of a plugin would change.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn dry_run_plugin(
        &self,
        name: &PluginName,
        version: &PluginVersion,
        epoch: Option<Epoch>,
    ) -> Result<Value, ClientError> {
        let body = serde_json::json!({"version": version.as_str(), "dry_run": true});
        let call = Call::new(Method::POST, &format!("/v1/plugins/{name}/activate"));
        let call = call.json(body.to_string().into());
        self.send(&only_at(call, epoch)).await?.json()
    }

    /// What runs beside the version of a plugin in force, and what came of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn shadow(&self, name: &PluginName) -> Result<Value, ClientError> {
        self.read(&format!("/v1/plugins/{name}/shadow"))
            .await?
            .json()
    }

    /// The calls that the shadow of a plugin answers otherwise, one a line.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn captures(&self, name: &PluginName) -> Result<Bytes, ClientError> {
        let call = Call::new(Method::GET, &format!("/v1/plugins/{name}/shadow"));
        let lines = HeaderValue::from_static("application/x-ndjson");
        Ok(self.send(&call.header(ACCEPT, lines)).await?.body)
    }

    /// Runs a version of a plugin beside the one in force on a part of its calls, if the map is
    /// still at `epoch`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_shadow(
        &self,
        name: &PluginName,
        (version, sample): (&PluginVersion, f64),
        epoch: Option<Epoch>,
    ) -> Result<Value, ClientError> {
        let body = serde_json::json!({"version": version.as_str(), "sample": sample});
        let call = Call::new(Method::PUT, &format!("/v1/plugins/{name}/shadow"));
        let call = call.json(body.to_string().into());
        self.send(&only_at(call, epoch)).await?.json()
    }

    /// Stops the shadow of a plugin, if the map is still at `epoch`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stop_shadow(
        &self,
        name: &PluginName,
        epoch: Option<Epoch>,
    ) -> Result<(), ClientError> {
        let call = Call::new(Method::DELETE, &format!("/v1/plugins/{name}/shadow"));
        self.send(&only_at(call, epoch)).await.map(drop)
    }

    /// Removes a version of a plugin that is not in use, if the map is still at `epoch`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_plugin(
        &self,
        name: &PluginName,
        version: &PluginVersion,
        epoch: Option<Epoch>,
    ) -> Result<(), ClientError> {
        let call = Call::new(Method::DELETE, &release_path(name, version));
        self.send(&only_at(call, epoch)).await.map(drop)
    }

    /// Whether a node serves: what `/health/ready` says.
    ///
    /// # Errors
    /// [`ClientError`]; a node that does not serve yet refuses with 503.
    pub async fn ready(&self) -> Result<Value, ClientError> {
        self.read("/health/ready").await?.json()
    }

    /// A page of the keys of a bucket; `query` as the API page has it, percent-encoded.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(&self, bucket: &BucketName, query: &str) -> Result<Value, ClientError> {
        self.read(&format!("/v1/kv/{bucket}?{query}")).await?.json()
    }

    pub(super) async fn read(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(&Call::new(Method::GET, path)).await
    }

    async fn replace(
        &self,
        path: &str,
        config: &Value,
        epoch: Option<Epoch>,
    ) -> Result<Configured, ClientError> {
        let call = Call::new(Method::PUT, path).json(config.to_string().into());
        configured(&self.send(&only_at(call, epoch)).await?)
    }
}

/// The path of a version of a plugin, which has no letter that a path may not have.
fn release_path(name: &PluginName, version: &PluginVersion) -> String {
    format!("/v1/plugins/{name}/{version}")
}

fn only_at(call: Call, epoch: Option<Epoch>) -> Call {
    match epoch.and_then(|epoch| quoted(epoch).ok()) {
        Some(epoch) => call.header(IF_MATCH, epoch),
        None => call,
    }
}

fn quoted(epoch: Epoch) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::try_from(format!("\"{epoch}\""))
}

fn configured(answer: &Answer) -> Result<Configured, ClientError> {
    Ok(Configured {
        config: answer.json()?,
        epoch: super::value::epoch_of(&answer.headers),
        created: answer.status == StatusCode::CREATED,
    })
}
