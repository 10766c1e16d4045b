//! JSON Schemas of manifests, made from the types of this module.
//!
//! The parser of manifests walks the same schemas to know which fields exist and which are references, so what an editor
//! checks and what is accepted cannot drift apart. Ranges and spellings are the documents' to judge.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::Kind;
use crate::manifest::API_VERSION;

/// The extension by which a schema says that a text names an object of a kind.
pub(crate) const REFERENCE: &str = "x-lochness-kind";

static SPECS: LazyLock<BTreeMap<Kind, Value>> = LazyLock::new(|| {
    Kind::ALL.into_iter().map(|kind| (kind, Value::from(generate_spec(kind)))).collect()
});

/// The JSON Schema (draft 2020-12) of a kind's manifests.
pub fn of(kind: Kind) -> Value {
    let mut schema = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema" });
    let fields = manifest(kind);
    if let (Value::Object(schema), Value::Object(fields)) = (&mut schema, fields) {
        schema.extend(fields);
    }
    schema
}

/// The JSON Schema of files that mix kinds.
pub fn of_all() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Manifest",
        "description": "One object of Loch Ness",
        "oneOf": Kind::ALL.map(manifest),
    })
}

/// The schema of a kind's `spec`.
pub(crate) fn spec(kind: Kind) -> &'static Value {
    &SPECS[&kind]
}

fn manifest(kind: Kind) -> Value {
    let metadata = match kind {
        Kind::Vlan => generate::<VlanMetadata>(),
        Kind::Guest
        | Kind::Hypervisor
        | Kind::Network
        | Kind::Subnet
        | Kind::Flavor
        | Kind::Image
        | Kind::FwGroup
        | Kind::VlanGroup => generate::<Metadata>(),
    };
    json!({
        "title": kind.name(),
        "type": "object",
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind.name() },
            "metadata": metadata,
            "spec": spec(kind),
        },
        "required": ["apiVersion", "kind", "metadata"],
        "additionalProperties": false,
    })
}

fn generate_spec(kind: Kind) -> Schema {
    match kind {
        Kind::Guest => generate::<GuestSpec>(),
        Kind::Hypervisor => generate::<HypervisorSpec>(),
        Kind::Network => generate::<NetworkSpec>(),
        Kind::Subnet => generate::<SubnetSpec>(),
        Kind::Flavor => generate::<FlavorSpec>(),
        Kind::Image => generate::<ImageSpec>(),
        Kind::FwGroup => generate::<FwGroupSpec>(),
        Kind::Vlan => generate::<VlanSpec>(),
        Kind::VlanGroup => generate::<VlanGroupSpec>(),
    }
}

fn generate<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema
}

/// What a manifest's `metadata` says.
#[derive(JsonSchema)]
#[schemars(extend("anyOf" = [{"required": ["name"]}, {"required": ["id"]}]))]
#[schemars(extend("additionalProperties" = {"type": ["string", "integer", "boolean", "null"]}))]
#[expect(dead_code, reason = "only its schema is used")]
struct Metadata {
    /// What people call the object; unique a kind. Without `id`, the id is made of it.
    #[schemars(length(min = 1, max = 253))]
    name: Option<String>,
    /// UUID of the object.
    #[schemars(extend("format" = "uuid"))]
    id: Option<String>,
    /// For selectors.
    labels: Option<BTreeMap<String, Scalar>>,
    /// For people and programs.
    annotations: Option<BTreeMap<String, Scalar>>,
    /// `recreate`: the guest may be placed anew once its host is known to be fenced.
    evacuate: Option<String>,
    /// Guests with a higher one are placed first; 0 by default.
    priority: Option<i32>,
    /// Labels that the host must have, such as `zone=a,disk=ssd`.
    place: Option<String>,
    /// No mutation of any agent for this object.
    pause: Option<Scalar>,
    /// Passed to the guest.
    user_data: Option<String>,
    /// Passed to the guest.
    ssh_keys: Option<String>,
    /// Guests of one set are kept apart from each other.
    set: Option<String>,
}

/// What the `metadata` of a VLAN says.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct VlanMetadata {
    /// The tag, from 1 to 4094.
    #[schemars(extend("type" = ["integer", "string"]))]
    name: u16,
}

/// A text, or what becomes one.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Scalar {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// A guest as its owner wants it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct GuestSpec {
    /// The agent's guest type, such as `kvm`.
    r#type: Option<String>,
    /// Size and image.
    #[schemars(extend("x-lochness-kind" = "Flavor"))]
    flavor: String,
    /// Pins the guest to this host.
    #[schemars(extend("x-lochness-kind" = "Hypervisor"))]
    hypervisor: Option<String>,
    /// Where its address comes from. Required unless `subnet` is given.
    #[schemars(extend("x-lochness-kind" = "Network"))]
    network: Option<String>,
    /// Restricts the choice to this subnet.
    #[schemars(extend("x-lochness-kind" = "Subnet"))]
    subnet: Option<String>,
    /// Firewall group.
    #[schemars(extend("x-lochness-kind" = "FwGroup"))]
    fwgroup: Option<String>,
    /// VLANs of the nic.
    #[schemars(extend("x-lochness-kind" = "VlanGroup"))]
    vlangroup: Option<String>,
    /// Asks for exactly this hardware address.
    mac: Option<String>,
    /// Asks for exactly this address.
    ip: Option<String>,
    /// What the original wrote back; shown, not used.
    bridge: Option<String>,
    /// What should be so; `running` by default.
    state: Option<GuestState>,
    /// A token; a new value is one reboot.
    reboot: Option<String>,
    /// What happens when the guest stops by itself; `always` by default.
    restart: Option<Restart>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum GuestState {
    Running,
    Stopped,
    Suspended,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum Restart {
    Always,
    OnFailure,
    Never,
}

/// A size of guests, and their image.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct FlavorSpec {
    /// Image of the disk.
    #[schemars(extend("x-lochness-kind" = "Image"))]
    image: String,
    /// MB.
    #[schemars(range(min = 1))]
    memory: u64,
    /// MB; 0 means as large as the image.
    disk: Option<u64>,
    /// Cores.
    #[schemars(range(min = 1))]
    cpu: u32,
}

/// A disk image, and where it comes from.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct ImageSpec {
    /// URL that hosts fetch.
    source: String,
    /// What the fetched bytes must have.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    sha256: Option<String>,
    /// Format of the bytes.
    format: Option<Format>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum Format {
    Raw,
    Qcow2,
}

/// A set of subnets; they say that they belong to it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NetworkSpec {}

/// A range of addresses.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct SubnetSpec {
    /// The network that it belongs to.
    #[schemars(extend("x-lochness-kind" = "Network"))]
    network: String,
    /// The whole range, such as `10.0.0.0/24`.
    cidr: String,
    /// Never assigned to a guest.
    gateway: Option<String>,
    /// The first address that a guest may have.
    start: Option<String>,
    /// The last address that a guest may have.
    end: Option<String>,
}

/// What may reach the guests of the group.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct FwGroupSpec {
    /// Judged in their order; what no rule accepts is dropped.
    rules: Option<Vec<RuleSpec>>,
}

/// What is not given matches everything.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct RuleSpec {
    /// Addresses that the rule is about.
    source: Option<String>,
    /// Guests of this group are what the rule is about.
    #[schemars(extend("x-lochness-kind" = "FwGroup"))]
    group: Option<String>,
    /// The first port; needs `tcp` or `udp`.
    port_start: Option<u16>,
    /// The last port; `portStart` by default.
    port_end: Option<u16>,
    /// What is carried.
    protocol: Option<ProtocolName>,
    /// `accept` by default.
    action: Option<ActionName>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum ProtocolName {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum ActionName {
    Accept,
    Deny,
    Reject,
}

/// A VLAN.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct VlanSpec {
    /// For people.
    description: Option<String>,
}

/// A set of VLANs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct VlanGroupSpec {
    /// For people.
    description: Option<String>,
    /// Tags, from 1 to 4094.
    vlans: Option<Vec<u16>>,
}

/// A host. Its agent tells the rest.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct HypervisorSpec {
    /// Where its agent listens, unless its heartbeat says otherwise.
    ip: Option<String>,
    /// Of `ip`.
    netmask: Option<String>,
    /// The host's own gateway.
    gateway: Option<String>,
    /// The host's own hardware address.
    mac: Option<String>,
    /// What the host has; its heartbeat counts when not given.
    total_resources: Option<ResourcesSpec>,
    /// What the original computed; shown, not used.
    available_resources: Option<ResourcesSpec>,
    /// Bridges by subnet: through which the host reaches which.
    subnets: Option<BTreeMap<String, String>>,
    /// Configuration of the host.
    config: Option<ConfigSpec>,
}

/// MB, MB and cores.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct ResourcesSpec {
    /// MB.
    memory: Option<u64>,
    /// MB.
    disk: Option<u64>,
    /// Cores.
    cpu: Option<u32>,
}

/// What lies under `hypervisors/<id>/config/`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct ConfigSpec {
    /// No mutation of its agent.
    pause: Option<Scalar>,
    /// No new guests.
    cordon: Option<Scalar>,
    /// No new guests, and those that may move do.
    drain: Option<Scalar>,
    /// A person or a script says that its guests cannot run any more.
    fenced: Option<Scalar>,
    /// Who makes its firewall.
    firewall: Option<Scalar>,
    /// Instead of the cluster's.
    overcommit_cpu: Option<f64>,
    /// Instead of the cluster's.
    overcommit_memory: Option<f64>,
    /// Instead of the cluster's.
    overcommit_disk: Option<f64>,
    /// MB that are kept for the host itself.
    reserve_memory: Option<u64>,
    /// Where its agent listens.
    agent_port: Option<u16>,
    /// Whether its agent speaks TLS.
    agent_tls: Option<Scalar>,
}
