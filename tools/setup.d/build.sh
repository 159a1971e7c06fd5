apt_build() { :; }
setup_build() { :; }
