apt_test() { :; }
setup_test() { :; }
