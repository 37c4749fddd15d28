package runtimes

// providedAL2023 has no language: the function brings its own bootstrap, in
// /var/task or in a layer. Go functions run on it.
func providedAL2023() Recipe {
	return base("provided.al2023", "provided:al2023.v2")
}
