"""What the engines that capture a module as a graph share: rehearsals, torch's compiler, and its failures."""
