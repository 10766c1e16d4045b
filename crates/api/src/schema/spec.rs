//! The fields of manifests, as types whose only use is their schema. Doc comments become descriptions.

#![expect(dead_code, reason = "nobody builds these types; only their schemas are used")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

/// What a manifest's `metadata` says.
#[derive(JsonSchema)]
#[schemars(extend("anyOf" = [{"required": ["name"]}, {"required": ["id"]}]))]
#[schemars(extend("additionalProperties" = {"type": ["string", "integer", "boolean", "null"]}))]
pub(super) struct Metadata {
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
    /// Guests with a higher one are placed first, subnets with a higher one are filled first; 0 by default.
    priority: Option<Scalar>,
    /// Of a guest: labels that the host must have, such as `zone=a,disk=ssd`. Of a network: how guests are shared out among
    /// its subnets, `fill` (the default) or `spread`.
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
pub(super) struct VlanMetadata {
    /// The tag, from 1 to 4094.
    #[schemars(extend("type" = ["integer", "string"]))]
    name: u16,
}

/// A text, or what becomes one.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Scalar {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// A value of the configuration, in any form that its text can have.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Setting {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// A guest as its owner wants it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct GuestSpec {
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
enum GuestState {
    Running,
    Stopped,
    Suspended,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
enum Restart {
    Always,
    OnFailure,
    Never,
}

/// A size of guests, and their image.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct FlavorSpec {
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
pub(super) struct ImageSpec {
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
enum Format {
    Raw,
    Qcow2,
}

/// A set of subnets; they say that they belong to it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct NetworkSpec {}

/// A range of addresses.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct SubnetSpec {
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
pub(super) struct FwGroupSpec {
    /// Judged in their order; what no rule accepts is dropped.
    rules: Option<Vec<RuleSpec>>,
}

/// What is not given matches everything.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
struct RuleSpec {
    /// Addresses that the rule is about.
    source: Option<String>,
    /// Guests of this group are what the rule is about.
    #[schemars(extend("x-lochness-kind" = "FwGroup"))]
    group: Option<String>,
    /// The first port, 1 by default where there is a `portEnd`; needs `tcp` or `udp`.
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
enum ProtocolName {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
enum ActionName {
    Accept,
    Deny,
    Reject,
}

/// A VLAN.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct VlanSpec {
    /// For people.
    description: Option<String>,
}

/// A set of VLANs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct VlanGroupSpec {
    /// For people.
    description: Option<String>,
    /// Tags, from 1 to 4094.
    vlans: Option<Vec<u16>>,
}

/// A host. Its agent tells the rest.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct HypervisorSpec {
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
struct ConfigSpec {
    /// No mutation of its agent.
    pause: Option<Setting>,
    /// No new guests.
    cordon: Option<Setting>,
    /// No new guests, and those that may move do.
    drain: Option<Setting>,
    /// A person or a script says that its guests cannot run any more.
    fenced: Option<Setting>,
    /// Who keeps its guests' firewall: `agent` (by default) or `external`.
    firewall: Option<Setting>,
    /// Instead of the cluster's.
    overcommit_cpu: Option<Setting>,
    /// Instead of the cluster's.
    overcommit_memory: Option<Setting>,
    /// Instead of the cluster's.
    overcommit_disk: Option<Setting>,
    /// MB that are kept for the host itself.
    reserve_memory: Option<Setting>,
    /// Where its agent listens.
    agent_port: Option<Setting>,
    /// Whether its agent speaks TLS.
    agent_tls: Option<Setting>,
}
