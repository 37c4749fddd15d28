package runtimes

// python311 is Debian's interpreter, moved to where AWS has it (Python finds
// its prefix by looking upwards from the executable), with AWS's own runtime
// interface client and SDK from PyPI.
func python311() Recipe {
	r := base("python3.11", "python:3.11.v3", "python3.11", "python3-distutils", "python3-lib2to3")
	r.WheelDir = "/var/lang/lib/python3.11/site-packages"
	r.Wheels = []Wheel{
		{"awslambdaric", "4.2.2", "ea87f581768a7558b493a59ee9f4de6dcbc6444b888169afa01af71396ed731d"},
		{"simplejson", "4.3.0", "06306ed92b3860802ad9dd7fe88f122a7360b01e3936b8a355d6d689bb2bb774"},
		{"snapshot-restore-py", "1.0.0", "38f99e696793790f54658e71c68c7a8a40cea877c81232b5052383b1301aceba"},
		{"boto3", "1.44.5", "70c3e0409794b29ec1900bcaff0695b73234a2d32ffaed35045b94caa26212a5"},
		{"botocore", "1.44.5", "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921"},
		{"jmespath", "1.1.0", "a5663118de4908c91729bea0acadca56526eb2698e83de10cd116ae0f4e97c64"},
		{"python-dateutil", "2.9.0.post0", "a8b2bc7bffae282281c8140a97d3aa9c14da0b136dfe83f850eea9a5f7470427"},
		{"s3transfer", "0.19.3", "24eb7535804306355e31c952a90022bf5b2f9d760f9a11062c7493a217c08553"},
		{"six", "1.17.0", "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"},
		{"urllib3", "2.8.0", "0cf3cae568d36aa9576b28dfb35f11328f1cb974ca7647d9475ebb86c75ac6e3"},
	}
	r.Move = []Pair{
		{"/usr/bin/python3.11", "/var/lang/bin/python3.11"},
		{"/usr/lib/python3.11", "/var/lang/lib/python3.11"},
	}
	r.Remove = append(r.Remove,
		"/usr/lib/python3", "/usr/bin/py*", "/usr/bin/pdb*", "/usr/bin/2to3*", "/usr/share/python3",
		"/etc/python3*", "/var/lang/lib/python3.11/sitecustomize.py", "/var/lang/lib/python3.11/EXTERNALLY-MANAGED",
		"/var/lang/lib/python3.11/config-3.11-*", "/var/lang/lib/python3.11/test",
		"/var/lang/lib/python3.11/__pycache__", "/var/lang/lib/python3.11/*/__pycache__",
	)
	r.Dirs = append(r.Dirs, "/opt/python/lib/python3.11/site-packages")
	r.Files = append(r.Files, rootfs("python3.11"))
	r.Links = append(r.Links,
		Pair{"/var/lang/bin/python3", "python3.11"},
		Pair{"/var/lang/bin/python", "python3.11"},
		Pair{"/usr/local/bin/python3.11", "/var/lang/bin/python3.11"},
		Pair{"/usr/local/bin/python3", "/var/lang/bin/python3.11"},
		Pair{"/usr/bin/python3", "/var/lang/bin/python3.11"},
		Pair{"/usr/lib64/libexpat.so.1", "../lib/x86_64-linux-gnu/libexpat.so.1"},
		Pair{"/var/runtime/prewarm", "bootstrap.py"},
	)
	const python = "/var/lang/bin/python3.11"
	r.Commands = [][]string{
		// Unchecked, because the sources never change: saves a look at each
		// source file at every import, and holds no time stamp.
		{python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/var/lang/lib/python3.11"},
		{python, "/var/runtime/lib/preload.py"},
	}
	return r
}
