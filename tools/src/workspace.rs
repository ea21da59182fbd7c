//! Where things are: the workspace, its target folder, and the products of a build.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of all kernels.
pub const KERNEL_TARGET: &str = "x86_64-unknown-none";

/// The folders of this workspace.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub root: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            // Relative to the current folder, as cargo has it.
            Some(folder) if !folder.is_empty() => {
                std::path::absolute(&folder).unwrap_or_else(|_| folder.into())
            }
            _ => root.join("target"),
        };
        Self { root, target }
    }

    /// A cargo command in the root folder, with the toolchain that this program was started by.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// The demo kernel's ELF, the same in every world.
    pub fn demo_kernel(&self) -> PathBuf {
        self.target.join(KERNEL_TARGET).join("release/guest-demo-kernel")
    }

    /// The smallest guest's ELF.
    pub fn smallest_guest(&self) -> PathBuf {
        self.target.join(KERNEL_TARGET).join("release/examples/smallest")
    }

    /// The conformance suite's ELF.
    pub fn conformance_suite(&self) -> PathBuf {
        self.target.join(KERNEL_TARGET).join("release/conformance-suite")
    }

    /// The hostile guest's ELF.
    pub fn hostile_guest(&self) -> PathBuf {
        self.target.join(KERNEL_TARGET).join("release/hostile-guest")
    }

    /// The ELF of the guest that measures.
    pub fn hypermark(&self) -> PathBuf {
        self.target.join(KERNEL_TARGET).join("release/hypermark")
    }

    /// The plugin that records what QEMU executes.
    pub fn recorder(&self) -> PathBuf {
        self.target.join("release/libhypermark_plugin.so")
    }

    /// Budgets and comparisons of `cargo pv bench`.
    pub fn budgets(&self) -> PathBuf {
        self.root.join("bench/budgets.toml")
    }

    /// The hypervisor's ELF.
    pub fn hypervisor(&self) -> PathBuf {
        self.target.join(KERNEL_TARGET).join("hypervisor/hypervisor")
    }

    /// The target folder of the hypervisor that can be broken: no other build may ever pick it up.
    pub fn mutants_target(&self) -> PathBuf {
        self.target.join("mutants")
    }

    /// That hypervisor's ELF.
    pub fn mutants_hypervisor(&self) -> PathBuf {
        self.mutants_target().join(KERNEL_TARGET).join("hypervisor/hypervisor")
    }

    /// The target folder of the traced hypervisor: as that of mutants, apart from the true one.
    pub fn traced_target(&self) -> PathBuf {
        self.target.join("traced")
    }

    /// That hypervisor's ELF.
    pub fn traced_hypervisor(&self) -> PathBuf {
        self.traced_target().join(KERNEL_TARGET).join("hypervisor/hypervisor")
    }

    /// A copy of the sources without mutation and trace points.
    pub fn root_without_points(&self) -> PathBuf {
        self.target.join("pv/without-points")
    }

    /// The target folder of that copy's build.
    pub fn target_without_points(&self) -> PathBuf {
        self.target.join("without-points")
    }

    /// What can be broken.
    pub fn mutants(&self) -> PathBuf {
        self.root.join("conformance/mutants.toml")
    }

    /// The specification.
    pub fn specification(&self) -> PathBuf {
        self.root.join("spec")
    }

    /// The ABI's C header.
    pub fn c_header(&self) -> PathBuf {
        self.specification().join("pvops.h")
    }

    /// The C guest's sources.
    pub fn c_guest_sources(&self) -> PathBuf {
        self.root.join("conformance/c-guest")
    }

    /// The C guest's ELF.
    pub fn c_guest(&self) -> PathBuf {
        self.target.join("c-guest/c-guest")
    }

    /// The disk images made so far.
    pub fn images(&self) -> PathBuf {
        self.target.join("pv/images")
    }

    /// The descriptions of the targets that the conformance suite is run on.
    pub fn targets(&self) -> PathBuf {
        self.root.join("conformance/targets")
    }

    /// The image builder's own package.
    pub fn image_builder_package(&self) -> PathBuf {
        self.root.join("tools/image-builder")
    }

    /// The image builder's target folder: its toolchain differs from the workspace's.
    pub fn image_builder_target(&self) -> PathBuf {
        self.target.join("image-builder")
    }
}
