"""What each stage's script does to a machine, by the name of its contract; the link's own scripts are the process layer's."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from images.stages.contract import StageResult
from infra.local.machine.stage_run import StageRun
from infra.local.machine.stages import boot, checkpoint, content, finish, fix, generalize, networking, servicing, system, updates

STAGE_FUNCTIONS: Mapping[str, Callable[[StageRun, Any], StageResult]] = MappingProxyType(
    {
        "expand-os-partition": system.expand_os_partition,
        "set-windows-update-policy": system.set_windows_update_policy,
        "add-udp-port-exclusion": system.add_udp_port_exclusion,
        "install-capability": servicing.install_capability,
        "set-openssh-server": system.set_openssh_server,
        "install-update": updates.install_update,
        "install-agent-update": updates.install_agent_update,
        "clear-component-store": servicing.clear_component_store,
        "install-feature": servicing.install_feature,
        "set-winrm-start-mode": system.set_winrm_start_mode,
        "restart-guest": system.restart_guest,
        "get-guest-state": system.get_guest_state,
        "set-registry-setting": system.set_registry_setting,
        "set-pagefile": system.set_pagefile,
        "set-tls-protocol": system.set_tls_protocol,
        "install-containerd": content.install_containerd,
        "import-container-image": content.import_container_image,
        "save-cached-file": content.save_cached_file,
        "install-tool": content.install_tool,
        "install-private-fix": fix.install_private_fix,
        "confirm-private-fix": fix.confirm_private_fix,
        "test-private-fix": fix.test_private_fix,
        "register-expand-volume-task": finish.register_expand_volume_task,
        "update-defender": finish.update_defender,
        "clear-build-leftover": finish.clear_build_leftover,
        "clear-run-command": checkpoint.clear_run_command,
        "set-vhd-identity": finish.set_vhd_identity,
        "test-free-space": finish.test_free_space,
        "set-text-file": finish.set_text_file,
        "get-inventory": finish.get_inventory,
        "invoke-generalize": generalize.invoke_generalize,
        "test-first-boot": boot.test_first_boot,
        "test-node-bootstrap": boot.test_node_bootstrap,
        "test-pod-networking": networking.test_pod_networking,
        "set-outbound-access": boot.set_outbound_access,
    }
)
