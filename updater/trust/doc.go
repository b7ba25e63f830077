// Package trust decides whether somebody whose key a device knows has signed
// an update. It needs neither clock nor network, and links into the
// initramfs.
//
// # What is signed
//
// As cosign does with a key pair, a signature covers a small JSON payload, and
// the payload names the digest of an OCI manifest. For an update the chain
// goes on: the OCI manifest names the digest of its config, the config is the
// update manifest, and that holds the root hash of the slot's dm-verity tree.
//
//	key -> payload -> OCI manifest -> update manifest -> root hash -> every block
//
// All documents of the chain but the last two are an Envelope, which lies in
// the slot beside the update manifest, so that the selector can follow the
// chain before it opens the slot.
//
// # Forms
//
// Two forms are taken. Simple signing: the payload is the JSON that names the
// digest under critical.image.docker-manifest-digest, the signature is made
// over its bytes (cosign up to 2, github.com/containers/image's
// docs/containers-signature.5). DSSE: a sigstore bundle whose payload is an
// in-toto statement with the digest among its subjects, the signature is made
// over DSSE's pre-authentication encoding (cosign 3). Keys are ECDSA P-256,
// with an ASN.1 signature over the SHA-256 of the message, or Ed25519 over
// the message itself. Certificates and transparency logs play no part.
package trust
