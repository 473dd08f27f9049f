"""Links between GPUs and between machines, as they are published, and the share of them that collectives reach.

None of these numbers was measured by minitrain. The hop latencies are those that NCCL's own tuner assumes for its ring
with the protocol ``Simple`` (``hwLat`` in ``src/graph/tuning.cc``, commit 01afd20): 3.4 µs over NVLink and 9.6 µs over
a network.
"""

from __future__ import annotations

from typing import NamedTuple

G, MICRO = 1e9, 1e-6


class Link(NamedTuple):
    """A link of one GPU, or of one network port.

    Attributes:
        name: of the link.
        bandwidth: published bytes per second in one direction.
        share: of it that large messages reach.
        latency: seconds of one hop.
        source: of these numbers.
    """

    name: str
    bandwidth: float
    share: float
    latency: float
    source: str

    @property
    def rate(self) -> float:
        """Bytes per second that large messages reach in one direction."""
        return self.share * self.bandwidth

    def seconds(self, nbytes: float) -> float:
        """The time of one message."""
        return self.latency + nbytes / self.rate


_NVLINK = "; NCCL reaches 370 of 450 GB/s: NVIDIA/nccl-tests issue 212"
_NETWORK = "; 46 to 48 of 50 GB/s for a port of 400 Gb/s: NVIDIA/nccl-tests issue 290"
LINKS = {
    "nvlink3": Link("NVLink 3", 300 * G, 0.82, 3.4 * MICRO, "A100 datasheet: 600 GB/s in both directions" + _NVLINK),
    "nvlink4": Link("NVLink 4", 450 * G, 0.82, 3.4 * MICRO, "H100 datasheet: 900 GB/s in both directions" + _NVLINK),
    "nvlink5": Link(
        "NVLink 5", 900 * G, 0.82, 3.4 * MICRO, "DGX B200 datasheet: 1.8 TB/s in both directions" + _NVLINK
    ),
    "pcie5": Link("PCIe 5 x16", 64 * G, 0.80, 5.7 * MICRO, "PCI-SIG: 32 GT/s, 16 lanes; the share is assumed"),
    "hdr": Link("InfiniBand HDR", 25 * G, 0.94, 9.6 * MICRO, "200 Gb/s, ConnectX-6 datasheet" + _NETWORK),
    "ndr": Link("InfiniBand NDR", 50 * G, 0.94, 9.6 * MICRO, "400 Gb/s, ConnectX-7 datasheet" + _NETWORK),
    "xdr": Link("InfiniBand XDR", 100 * G, 0.94, 9.6 * MICRO, "800 Gb/s, ConnectX-8 datasheet" + _NETWORK),
    "ethernet100": Link(
        "100 Gb Ethernet", 12.5 * G, 0.90, 30 * MICRO, "IEEE 802.3; share and latency, of TCP, are assumed"
    ),
    "ethernet25": Link("25 Gb Ethernet", 3.125 * G, 0.90, 30 * MICRO, "IEEE 802.3; share and latency are assumed"),
}
