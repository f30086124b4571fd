package nvidia

// NVIDIAIssuer is the name of NVIDIA's attestation service in its tokens, and
// its address.
const NVIDIAIssuer = "https://nras.attestation.nvidia.com"
