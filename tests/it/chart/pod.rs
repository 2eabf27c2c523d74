//! A rendered pod on this machine, taken literally: its arguments, variables and mounts, a root that is read-only and
//! has nothing in it but the relay, and, where the tests run as root, its user.
//!
//! The test plays the kubelet's part. ConfigMaps and Secrets are directories that it swaps as the kubelet does: all of a
//! new `..data` at once. What it needs of the system is a mount namespace of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::tools::{Objects, run};
use crate::receivers::leave_out;
use crate::relay::{BINARY, Process, Scene};

/// Contents by the names of files.
pub(super) type Files = BTreeMap<String, String>;

/// Prepares the root and becomes the container: ROOT USER COMMAND…, with a line `TARGET SOURCE ro|rw` for each mount on
/// standard input.
const BECOME: &str = r#"
set -eu
root=$1 user=$2; shift 2
mount --bind "$root" "$root"
while read -r target source mode; do
  mkdir -p "$root$target"
  mount --rbind "$source" "$root$target"
  if [ "$mode" = ro ]; then mount -o remount,bind,ro,nosuid,nodev "$root$target"; fi
done
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -o remount,bind,ro,nosuid,nodev "$root"
if [ "$user" != none ]; then set -- --userspec="$user" "$root" "$@"; else set -- "$root" "$@"; fi
exec chroot "$@"
"#;

pub(super) struct Pod {
    scene: Scene,
    spec: Value,
    /// How often each object, by `kind/name`, was written.
    generation: BTreeMap<String, usize>,
}

impl Pod {
    /// The pod of the StatefulSet, with the ConfigMaps that were rendered and these further objects, each by
    /// `kind/name`. `None`: this system lets nobody make a mount namespace, which was said.
    pub(super) fn new(objects: &Objects, further: &[(&str, Files)]) -> Option<Self> {
        let probe = run("unshare", &[&namespaces()[..], &["true"]].concat(), "");
        if !probe.is_content {
            leave_out(&format!("the pod of the chart, since mount namespaces are forbidden here: {}", probe.said));
            return None;
        }
        let spec = objects.one("StatefulSet")["spec"]["template"]["spec"].clone();
        let mut pod = Self { scene: Scene::new(), spec, generation: BTreeMap::new() };
        for map in objects.of_kind("ConfigMap") {
            let files = map["data"].as_object().unwrap().iter();
            let files = files.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect();
            pod.put(&format!("ConfigMap/{}", map["metadata"]["name"].as_str().unwrap()), &files);
        }
        further.iter().for_each(|(name, files)| pod.put(name, files));
        pod.lay_out_root();
        Some(pod)
    }

    /// Makes or changes a ConfigMap or a Secret, as the kubelet shows it to a pod that runs.
    pub(super) fn put(&mut self, name: &str, files: &Files) {
        let user = self.user();
        let generation = self.generation.entry(name.to_owned()).or_default();
        *generation += 1;
        let (directory, version) = (self.scene.path(name), format!("..2026_11_21_{generation}"));
        fs::create_dir_all(directory.join(&version)).unwrap();
        for (file, content) in files {
            let path = directory.join(&version).join(file);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
            let link = directory.join(file);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new("..data").join(file), link).unwrap();
            }
        }
        if let Some(group) = user {
            // By `fsGroup`.
            let answer = run("chgrp", &["-R", &group.to_string(), directory.to_str().unwrap()], "");
            assert!(answer.is_content, "{}", answer.said);
        }
        symlink(&version, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
        if *generation > 1 {
            fs::remove_dir_all(directory.join(format!("..2026_11_21_{}", *generation - 1))).unwrap();
        }
    }

    /// The image: the relay, the libraries that it asks for, and directories to mount at.
    fn lay_out_root(&self) {
        let root = self.scene.path("root");
        let libraries = run("ldd", &[BINARY], "").out;
        let words = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for path in words.chain(["/etc/ssl/certs/ca-certificates.crt"]).filter(|path| Path::new(path).exists()) {
            copy(Path::new(path), &root);
        }
        let binary = root.join("usr/local/bin/cspr-relay");
        fs::create_dir_all(binary.parent().unwrap()).unwrap();
        fs::copy(BINARY, binary).unwrap();
        for directory in ["dev", "proc", "data", "etc/cspr-relay", "run/secrets"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::create_dir_all(self.scene.data()).unwrap();
        if let Some(user) = self.user() {
            let answer = run("chown", &[&format!("{user}:{user}"), self.scene.data().to_str().unwrap()], "");
            assert!(answer.is_content, "{}", answer.said);
        }
    }

    /// The user and group of the pod, which only root can become.
    fn user(&self) -> Option<u64> {
        is_root().then(|| self.spec["securityContext"]["runAsUser"].as_u64().unwrap())
    }

    /// Starts a container of the pod.
    pub(super) fn start(&self, list: &str, name: &str) -> Process {
        let containers = self.spec[list].as_array().unwrap();
        let container = containers.iter().find(|container| container["name"] == name).unwrap();
        let root = self.scene.path("root");
        let mounts = self.scene.path("mounts");
        fs::write(&mounts, self.mounts(container)).unwrap();
        let user = self.user().map_or("none".to_owned(), |user| format!("{user}:{user}"));
        let mut command = Command::new("sh");
        // The log's files are made by the scene, which closes standard input.
        let script = format!("exec <\"$0\"; {BECOME}");
        command.args(["-c", &script]);
        command.arg(&mounts).arg(root).arg(user).arg("/usr/local/bin/cspr-relay");
        for argument in container["args"].as_array().unwrap() {
            command.arg(argument.as_str().unwrap());
        }
        let mut whole = tokio::process::Command::new("unshare");
        whole.args(namespaces()).arg(command.get_program()).args(command.get_args()).env_clear();
        whole.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for variable in container["env"].as_array().unwrap() {
            whole.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
        }
        self.scene.spawn(name, &mut whole)
    }

    fn mounts(&self, container: &Value) -> String {
        let volumes = self.spec["volumes"].as_array().unwrap();
        let line = |mount: &Value| {
            let (name, at) = (&mount["name"], mount["mountPath"].as_str().unwrap());
            let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
            let volume = volumes.iter().find(|volume| volume["name"] == *name);
            format!("{at} {} {mode}\n", self.source(volume).display())
        };
        container["volumeMounts"].as_array().unwrap().iter().map(line).collect()
    }

    /// Where the content of a volume is; one that is not listed is that of the claim.
    fn source(&self, volume: Option<&Value>) -> PathBuf {
        let Some(volume) = volume else { return self.scene.data() };
        let of = |kind: &str, name: &Value| name.as_str().map(|name| self.scene.path(&format!("{kind}/{name}")));
        of("ConfigMap", &volume["configMap"]["name"])
            .or_else(|| of("Secret", &volume["secret"]["secretName"]))
            .unwrap_or_else(|| panic!("a volume of another kind: {volume}"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scene.path(name)
    }

    pub(super) fn spec(&self) -> &Value {
        &self.spec
    }
}

fn copy(path: &Path, root: &Path) {
    let target = root.join(path.strip_prefix("/").unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(path, target).unwrap();
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").stderr(Stdio::null()).output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

fn namespaces() -> Vec<&'static str> {
    if is_root() { vec!["--mount"] } else { vec!["--user", "--map-root-user", "--mount"] }
}
